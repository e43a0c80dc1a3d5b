// The page of a fleet in a real browser: that of the demo with three monitors, and
// that of a collector whose monitors are hostile.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, need, start, until, visit } from './browser.mjs';

const url = need('PAGE_URL'), node = need('PAGE_NODE'), hostile = need('PAGE_HOSTILE');
let b;
before(async () => { b = await start(); });
after(async () => b.close());

const rows = (page, label) => page.locator(`.grid[aria-label="${label}"] .body [role=row]`);
const live = (page) => page.waitForFunction(() => document.querySelector('.chip.state')?.textContent === 'Live');
const tile = async (page, name) => (await page.locator('.tile', { hasText: name }).locator('.value').textContent()).trim();

for (const [look, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['phone', { size: 'phone' }]]) {
  test(`three monitors and what they see together, ${look}`, async () => {
    const v = await visit(b.browser, url, options), { page } = v;
    await live(page);
    await until(async () => await tile(page, 'Monitors read') === '3 of 3', 'three monitors');
    await until(async () => Number(await tile(page, 'Connected peers')) > 0, 'connected peers');
    assert.equal(await rows(page, 'Monitors').count(), 3);
    await page.locator('.matrix td[title]').first().waitFor(); // two of them have peers in common
    await page.locator('.chart[aria-label="Requests of all"] canvas').waitFor();
    await rows(page, 'Sizes').first().waitFor();
    await rows(page, 'Wanted now').first().waitFor();
    await until(async () => /\w/.test(await rows(page, 'Wanted now').first().locator('[role=gridcell]').last().textContent()), 'where it was seen');
    await accessible(page, `the fleet in ${look}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} px wider than the screen`);
    await v.shot(`fleet-${look}`);
    await v.done();
  });
}

test('a row opens, the matrix is of peers or of requests, and a name leads to the page of the monitor', async () => {
  const v = await visit(b.browser, url), { page } = v;
  await live(page);
  const first = rows(page, 'Monitors').first();
  await first.getByRole('button', { name: 'Open the row' }).click();
  await page.getByText(/round trip .*clock set 0 times/).waitFor();
  await page.getByRole('group', { name: 'Of what' }).getByRole('button', { name: 'Requests' }).click();
  await page.locator('header .note', { hasText: 'requests of the last interval' }).waitFor();
  const links = page.locator('.grid[aria-label="Monitors"] a');
  const to = await links.evaluateAll((all) => all.map((a) => [a.href, a.target, a.rel]));
  assert.equal(to.length, 3);
  assert.ok(to.some(([href]) => href === node), `${node} is among ${to}`);
  for (const [href, target, rel] of to) {
    assert.deepEqual([target, rel], ['_blank', 'noreferrer']);
    const own = await visit(b.browser, href, { expected: [/503.*history/] }); // a light node may have no store to ask
    await live(own.page);
    await own.done();
  }
  await v.done();
});

test('what monitors and peers say is text', async () => {
  const v = await visit(b.browser, hostile), { page } = v; // its rules: no dialog, no error, no request elsewhere
  await live(page);
  await until(async () => await tile(page, 'Monitors read') === '2 of 3', 'two monitors');
  await until(async () => (await page.locator('.grid[aria-label="Monitors"]').textContent()).includes('<img src=x onerror=alert(1)>0'), 'its name, as text');
  await page.locator('.matrix').getByText('<img src=x onerror=alert(1)>1').first().waitFor();
  await until(async () => (await page.locator('.grid[aria-label="Sizes"]').textContent()).includes('<script>alert(1)</script>'), 'a protocol, as text');
  assert.ok(!(await page.locator('#app').textContent()).includes('\u202e'), 'nothing turns the text around');
  await page.locator('ol[aria-label=Countries]').getByText('FR').waitFor();
  assert.deepEqual(await page.locator('.grid[aria-label="Monitors"] a').evaluateAll((all) => all.map((a) => a.getAttribute('href'))), ['https://monitor.example/%22onclick=alert(1)']);
  assert.equal(await page.locator('#app script, #app img:not([src="ui/icon.svg"])').count(), 0);
  await accessible(page, 'the hostile fleet');
  await v.shot('fleet-hostile');
  await v.done();
});

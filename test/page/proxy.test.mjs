// The Proxy view in a real browser, against a running proxy: three peers have
// fetched a file of 2 MiB from the node "here"; the node "gone" is down.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, need, start, until, visit } from './browser.mjs';

const url = need('PAGE_URL');
let b;
before(async () => { b = await start(); });
after(async () => b.close());

const tile = async (page, name) => (await page.locator('.tile', { hasText: name }).locator('.value').textContent()).trim();
const cells = async (page, node) => page.locator('.grid[aria-label="Nodes behind"] .body [role=row]', { hasText: node }).locator('[role=gridcell]').allTextContents();
const heads = async (page) => (await page.locator('.grid[aria-label="Nodes behind"] [role=columnheader]').allTextContents()).map((s) => s.replace(/[^\w %]/g, '').trim());

for (const [look, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['phone', { size: 'phone' }]]) {
  test(`the proxy and its nodes, ${look}`, async () => {
    const v = await visit(b.browser, url, { ...options, expected: [/503.*history/] }), { page } = v; // there is no store
    await page.locator('nav a[href="#/proxy"]').waitFor();
    await page.keyboard.press('9');
    await page.waitForFunction(() => location.hash === '#/proxy');
    await until(async () => await tile(page, 'Upstream peers') === '3', 'three peers');
    assert.equal(await tile(page, 'Nodes behind'), '1 of 2');
    assert.equal(await tile(page, 'Outstanding'), '0');
    assert.ok(Number(await tile(page, 'Blocks to peers')) >= 27, 'nine blocks for each of three peers');
    const titles = await heads(page), here = await cells(page, 'here'), gone = await cells(page, 'gone');
    const of = (row, title) => row[titles.indexOf(title)];
    assert.deepEqual([of(here, 'State'), of(gone, 'State')], ['connected', 'down']);
    assert.ok(Number(of(here, 'Verified')) >= 9, `nine blocks were fetched: ${here}`);
    assert.equal(of(here, 'Refused'), '0');
    assert.equal(of(gone, 'Verified'), '0');
    await accessible(page, `proxy in ${look}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} px wider than the screen`);
    await v.shot(`proxy-${look}`);
    await v.done();
  });
}

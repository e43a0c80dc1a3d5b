// The first look of somebody who has just started the demo: the page is alive before
// the node has seen a minute, at a desk and on a phone, and no link of it leads nowhere.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, need, start, until, visit } from './browser.mjs';

const demo = need('PAGE_URL');
const started = Date.now();
let b;
before(async () => { b = await start(); });
after(() => b.close());

const tile = (page, name) => page.locator('.tile', { hasText: name }).locator('.value').textContent();
// inked reports whether a line is drawn in the first chart: more than its axes.
const inked = (page) => page.evaluate(() => {
  const c = document.querySelector('.chart canvas');
  if (!c || c.width === 0) return false;
  const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  const d = copy.getImageData(0, 0, c.width, c.height).data;
  const colours = new Set();
  for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) colours.add(`${d[i] >> 5},${d[i + 1] >> 5},${d[i + 2] >> 5}`);
  return colours.size > 2;
});

for (const size of ['desk', 'phone']) {
  test(`the first look on a ${size} is alive`, async () => {
    const v = await visit(b.browser, demo, { size }), { page } = v;
    await page.waitForFunction(() => document.querySelector('.chip.state')?.textContent === 'Live');
    await until(async () => parseFloat(await tile(page, 'Peers')) > 0, 'peers');
    await until(async () => parseFloat(await tile(page, 'Messages in')) > 0, 'messages');
    await until(() => inked(page), 'a line in the chart');
    if (Date.now() - started < 60000) { // the store has less than the page
      assert.equal(await page.locator('.choice [aria-pressed=true]').first().textContent(), 'Last 2 min');
    }
    assert.equal(await page.locator('.card .empty', { hasText: 'cannot' }).count(), 0);
    const text = await page.locator('main').textContent();
    assert.doesNotMatch(text, /NaN|undefined|null|Infinity/);
    await accessible(page, `the first look on a ${size}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it is wider than the screen');
    // Every view can be reached, and the state can be seen, without scrolling sideways.
    for (const link of await page.locator('nav a[href^="#/"]').all()) {
      const box = await link.boundingBox();
      assert.ok(box && box.x >= 0 && box.x + box.width <= page.viewportSize().width, await link.textContent());
    }
    const chip = await page.locator('.chip.state').boundingBox();
    assert.ok(chip && chip.x + chip.width <= page.viewportSize().width);
    await v.shot(`first-look-${size}`);
    await v.done();
  });
}

test('no link leads nowhere', async () => {
  const v = await visit(b.browser, demo), { page } = v;
  await page.waitForFunction(() => document.querySelector('.chip.state')?.textContent === 'Live');
  // From each list with links, the first one: the page that it opens has rows, or says where more is.
  for (const [from, list] of [['overview', 'ol[aria-label=Agents] a'], ['overview', 'ol[aria-label=Transports] a'],
    ['content', '[aria-label="Most wanted CIDs"] .body a'], ['content', '[aria-label="Peers that want most"] .body a'],
    ['bitswap', '[aria-label="Bitswap messages"] .body a[href*="#/peers"]'], ['bitswap', '[aria-label="Bitswap messages"] .body a[href*="#/bitswap"]'],
    ['dht', '[aria-label="Peers in the routing table"] .body a']]) {
    await v.go(from);
    const link = page.locator(list).first();
    await until(async () => (await link.count()) > 0, `a link in ${list}`); // content needs a minute
    const to = await link.getAttribute('href');
    await page.evaluate((h) => { location.hash = h; }, to.slice(to.indexOf('#')));
    await until(async () => (await page.locator('.grid .body [role=row]').count()) > 0 ||
      (await page.locator('main', { hasText: 'ipfsmon query' }).count()) > 0 || (await page.locator('main', { hasText: 'Clear it' }).count()) > 0, `something at ${to}, from ${list}`);
  }
  // An address that no view has is the overview.
  await page.evaluate(() => { location.hash = '#/nowhere'; });
  await page.locator('.tile', { hasText: 'Peers' }).waitFor();
  await v.done();
});

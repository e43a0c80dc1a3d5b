// A browser for the tests of the live page, and what every page has to keep to
// whatever is done with it: no error on the console, no request elsewhere.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const need = (name) => {
  const v = process.env[name];
  if (!v) throw new Error(`${name} is not set: use make check-page`);
  return v;
};
export const out = resolve(need('PAGE_OUT'));
const require = createRequire(join(out, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
export const patience = 60000; // ms; the machine may be slow and busy

const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
export const sizes = { desk: { width: 1360, height: 860 }, phone: { width: 390, height: 844 } };

// start gives a browser with a profile of its own, which goes when it is closed.
export async function start() {
  mkdirSync(out, { recursive: true });
  const profile = mkdtempSync(join(tmpdir(), 'ipfsmon-page-'));
  const browser = await chromium.launch({ executablePath: process.env.PAGE_CHROMIUM || '/usr/bin/chromium', args: flags, env: { ...process.env, HOME: profile } });
  return {
    browser,
    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

// visit opens url in a new context. done() closes it and holds it to the rules.
export async function visit(browser, url, { size = 'desk', colorScheme = 'light', expected = [] } = {}) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme, acceptDownloads: true, hasTouch: size === 'phone' });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const faults = [], host = new URL(url).host;
  const fault = (text) => { if (!expected.some((e) => e.test(text))) faults.push(text); };
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') fault(`console: ${m.text()} at ${m.location().url}`); });
  page.on('pageerror', (e) => fault(`error: ${e.stack}`));
  page.on('dialog', (d) => { fault(`dialog: ${d.message()}`); d.dismiss(); });
  page.on('websocket', (w) => { if (new URL(w.url()).host !== host) fault(`WebSocket to ${w.url()}`); });
  context.on('request', (r) => {
    const u = new URL(r.url());
    if (u.host !== host && !['data:', 'blob:'].includes(u.protocol)) fault(`request to ${r.url()}`);
  });
  await page.goto(url);
  return {
    page,
    go: async (name) => {
      await page.evaluate((n) => { location.hash = `#/${n}`; }, name);
      await page.waitForFunction((n) => document.querySelector('nav [aria-current]')?.getAttribute('href') === `#/${n}`, name.split('?')[0]);
    },
    shot: (name) => page.screenshot({ path: join(out, `${name}.png`) }),
    async done() {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

// accessible holds the page as it is now to axe-core: no serious and no
// critical fault.
export async function accessible(page, what) {
  await page.evaluate(axe); // by the debugger, which the page's policy does not bind
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${v.impact}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary}`).join(' | ')}`);
  });
  assert.deepEqual(found, [], what);
}

// until waits for what f gives to be true.
export async function until(f, what) {
  const end = Date.now() + patience;
  for (;;) {
    if (await f()) return;
    if (Date.now() > end) assert.fail(`not seen in time: ${what}`);
    await new Promise((r) => setTimeout(r, 100));
  }
}

export { need };

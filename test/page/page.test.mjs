// The live page in a real browser, against the demo's swarm and against capture
// files and nodes that the feed makes. make check-page runs it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { number } from '../../introspect/ui/js/format.js';
import { parseCapture } from '../../introspect/ui/js/frame.js';
import { decode } from '../../introspect/ui/js/proto.js';
import { accessible, need, out, start, until, visit } from './browser.mjs';

const demo = need('PAGE_URL'), feed = need('PAGE_FEED'), big = need('PAGE_BIG'), hostile = need('PAGE_HOSTILE');
const names = ['overview', 'bitswap', 'peers', 'content', 'dht', 'graph', 'events', 'pipeline'];
let b;
before(async () => { b = await start(); });
const running = []; // what ends the feeds that were started
after(async () => {
  await Promise.all(running.map((stop) => stop()));
  await b.close();
});

const open = (url, options) => visit(b.browser, url, options);
const rows = (page, label) => page.locator(`.grid[aria-label="${label}"] .body [role=row]`);
const chip = (page) => page.locator('.chip.state');
const live = (page) => page.waitForFunction(() => document.querySelector('.chip.state')?.textContent === 'Live' && document.querySelector('.moment')?.textContent.includes(':'));
const tile = (page, name) => page.locator('.tile', { hasText: name }).locator('.value').textContent();
const filled = (page) => page.waitForFunction(() => {
  const c = document.querySelector('.graph canvas'), copy = new OffscreenCanvas(300, 300).getContext('2d', { willReadFrequently: true });
  if (!c || c.width === 0) return false;
  copy.drawImage(c, 0, 0, 300, 300);
  return copy.getImageData(0, 0, 300, 300).data.some((v, i) => i % 4 === 3 && v > 0);
});

// seen says what each page shows once the demo's swarm is alive.
const seen = {
  overview: async (p) => {
    await until(async () => Number(await tile(p, 'Peers')) > 0, 'peers');
    await p.locator('.chart canvas').nth(4).waitFor();
    await p.locator('ol[aria-label=Agents] li').first().waitFor();
    await until(async () => (await p.locator('.bar .note').count()) === 0, 'the hour of the store');
  },
  bitswap: async (p) => rows(p, 'Bitswap messages').nth(5).waitFor(),
  peers: async (p) => rows(p, 'Connections').nth(3).waitFor(),
  content: async (p) => {
    await p.locator('ol[aria-label=Codecs] li').first().waitFor();
    await p.getByRole('grid', { name: 'Blocks by source' }).getByText('connected').waitFor();
    await p.getByRole('grid', { name: 'Searches, requests and blocks' }).getByText('block, provider').first().waitFor();
    await p.getByText(/^These figures are of this node, not of the network: of \d+ connected peers/).waitFor();
  },
  dht: async (p) => {
    await p.locator('.slot.active').first().waitFor();
    await rows(p, 'Peers in the routing table').first().waitFor();
    await rows(p, 'DHT queries').first().waitFor();
  },
  graph: async (p) => {
    await p.locator('ol[aria-label=Groups] li').first().waitFor();
    await filled(p);
  },
  events: async (p) => rows(p, 'Events').nth(5).waitFor(),
  pipeline: async (p) => {
    await rows(p, 'Sinks').first().waitFor();
    await until(async () => Number((await tile(p, 'Points stored')).replaceAll(',', '')) > 0, 'points stored');
  },
};

for (const name of names) {
  test(`${name} shows the demo, in light, in dark and on a phone`, async () => {
    for (const [look, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['phone', { size: 'phone' }]]) {
      const v = await open(demo, options);
      await live(v.page);
      await v.go(name);
      await seen[name](v.page);
      await accessible(v.page, `${name} in ${look}`);
      const wide = await v.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} in ${look} is ${wide} px wider than the screen`);
      await v.shot(`${name}-${look}`);
      await v.done();
    }
  });
}

test('it is live, it pauses and it goes on', async () => {
  const v = await open(`${demo}#/pipeline`), { page } = v;
  await live(page);
  const events = () => tile(page, 'Events on the bus');
  await until(async () => /\d/.test(await events()), 'events');
  let was = await events();
  await until(async () => (await events()) !== was, 'a change');
  await page.getByRole('button', { name: 'Pause' }).click();
  await until(async () => (await chip(page).textContent()) === 'Paused', 'the pause'); // at the next frame
  await page.waitForTimeout(300); // what was on its way
  was = [await events(), await page.locator('.moment').textContent()];
  await page.waitForTimeout(4000);
  assert.deepEqual([await events(), await page.locator('.moment').textContent()], was);
  await page.keyboard.press('p');
  await live(page);
  await until(async () => (await events()) !== was[0], 'a change after the pause');
  await v.done();
});

test('the slider moves all pages back and leaves them there', async () => {
  const v = await open(`${demo}#/pipeline`), { page } = v;
  await live(page);
  const slider = page.getByRole('slider', { name: 'Moment looked at' });
  const moment = () => page.locator('.moment').textContent();
  const began = await moment();
  await until(async () => (await moment()) !== began, 'time');
  await page.waitForTimeout(4000); // so that there is a past
  await slider.focus();
  for (let i = 0; i < 6; i++) await page.keyboard.press('ArrowLeft');
  await until(async () => (await chip(page).textContent()) === 'In the past', 'the past');
  // Six steps are drawn in up to six frames: until all are, both still move.
  let drawn = '';
  await until(async () => {
    const before = drawn;
    drawn = `${await tile(page, 'Events on the bus')} ${await moment()}`;
    if (drawn !== before) await page.waitForTimeout(1000);
    return drawn === before;
  }, 'the six steps');
  const events = await tile(page, 'Events on the bus'), at = await moment();
  await page.waitForTimeout(3000);
  assert.equal(await tile(page, 'Events on the bus'), events);
  assert.equal(await moment(), at);
  for (const name of names) {
    await v.go(name);
    assert.equal(await moment(), at, name);
  }
  assert.match(await slider.getAttribute('aria-valuetext'), /before the newest/);
  await v.shot('slider');
  await page.getByRole('button', { name: /back to now/ }).click();
  await live(page);
  await v.done();
});

test('interval and retention are changed each alone', async () => {
  const v = await open(demo), { page } = v;
  await live(page);
  await page.getByRole('button', { name: 'Settings' }).click();
  const interval = page.getByLabel('A state every'), retention = page.getByLabel('Looking back');
  const forms = page.locator('form.setting');
  const change = async (n, field, text) => {
    await field.fill(text);
    await forms.nth(n).getByRole('button').click();
    await forms.nth(n).getByText('Changed.').waitFor();
  };
  assert.deepEqual([await interval.inputValue(), await retention.inputValue()], ['1', '120']);
  await change(0, interval, '0.5');
  assert.deepEqual([await interval.inputValue(), await retention.inputValue()], ['0.5', '120']);
  await change(1, retention, '60');
  assert.deepEqual([await interval.inputValue(), await retention.inputValue()], ['0.5', '60']);
  await accessible(page, 'settings');
  await v.shot('settings');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Last 1 min', exact: true }).waitFor();
  await v.done();
});

test('a session is exported, and opened again without a node', async () => {
  const v = await open(demo), { page } = v;
  await live(page);
  await page.waitForTimeout(4000);
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export' }).click();
  const file = join(out, 'session.ipfsmon-capture');
  await (await download).saveAs(file);
  await v.done();

  const bytes = readFileSync(file);
  const { payloads, fault } = parseCapture(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  assert.equal(fault, null);
  const messages = payloads.map((p) => decode('ServerMessage', p));
  const states = messages.filter((m) => m.state).length, events = messages.filter((m) => m.event).length;
  assert.ok(messages[0].runtime, 'the runtime is first');
  assert.ok(states >= 2 && events >= 2, `${states} states, ${events} events`);

  const node = await run(['--connections', '3']); // its page, then no node any more
  const w = await open(node.url, { expected: [/WebSocket connection/, /ERR_CONNECTION_REFUSED/] });
  await live(w.page);
  await node.stop();
  await w.page.waitForFunction(() => document.querySelector('.chip.state').textContent !== 'Live');
  await drop(w.page, file);
  await w.page.locator('.chip.file-name', { hasText: 'session.ipfsmon-capture' }).waitFor();
  assert.equal(await chip(w.page).textContent(), 'File');
  await w.page.getByRole('button', { name: 'Settings' }).click();
  await w.page.getByText(`${number(states)} states, ${number(events)} events`).waitFor();
  await w.page.keyboard.press('Escape');
  for (const name of ['bitswap', 'peers', 'dht', 'events', 'pipeline']) {
    await w.go(name);
    await w.page.locator('.grid .body [role=row]').first().waitFor();
  }
  await w.page.getByRole('slider').focus();
  await w.page.keyboard.press('Home');
  assert.equal(await w.page.locator('.when .link').textContent().then((t) => /back to the end/.test(t)), true);
  await w.done();
});

// drop does what dragging a file into the page does.
async function drop(page, file) {
  const data = await page.evaluateHandle(([name, base64]) => {
    const t = new DataTransfer(), bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    t.items.add(new File([bytes], name));
    return t;
  }, [file.split('/').pop(), readFileSync(file).toString('base64')]);
  await page.dispatchEvent('main', 'dragover', { dataTransfer: data });
  await page.getByText('Drop a capture file here').waitFor();
  await page.dispatchEvent('main', 'drop', { dataTransfer: data });
}

// run starts a feed and waits for its page; stop ends it.
function run(args) {
  const child = spawn(feed, ['--ui', 'introspect/ui', ...args], { cwd: need('PAGE_ROOT'), stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((done) => { child.on('exit', done); });
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  running.push(stop);
  return new Promise((done, fail) => {
    let text = '';
    child.stdout.on('data', (d) => {
      text += d;
      const m = /page at (\S+)/.exec(text);
      if (m) done({ url: m[1], stop });
    });
    child.on('exit', () => fail(new Error(`the feed ended: ${text}`)));
  });
}

// file opens a capture file in the demo's page.
async function file(name, options) {
  const v = await open(demo, options);
  await live(v.page);
  await v.page.locator('input[type=file]').setInputFiles(name);
  await v.page.waitForFunction(() => document.querySelector('.chip.state').textContent === 'File');
  return v;
}

test('10,000 rows', async () => {
  const v = await file(big), { page } = v;
  await v.go('peers');
  const grid = page.locator('.grid'), body = rows(page, 'Connections');
  await page.waitForFunction(() => document.querySelector('.grid')?.getAttribute('aria-rowcount') === '10001');
  assert.ok((await body.count()) < 60, 'only what can be seen is in the page');
  const cell = async (row, column) => (await row.locator('[role=gridcell]').nth(column).textContent()).trim();
  await page.getByRole('button', { name: 'Agent', exact: true }).click();
  assert.equal(await page.locator('[role=columnheader]', { hasText: 'Agent' }).getAttribute('aria-sort'), 'ascending');
  const first = await cell(body.first(), 3);
  await grid.focus();
  await page.keyboard.press('End');
  await page.locator('[role=row][aria-rowindex="10001"]').waitFor();
  assert.notEqual(await cell(page.locator('[role=row][aria-rowindex="10001"]'), 3), first);
  assert.ok((await body.count()) < 60);
  for (let y = 0; y < 40; y++) await grid.evaluate((g, top) => { g.scrollTop = top; }, y * 8500);
  await page.locator('[role=row][aria-rowindex="9760"]').waitFor(); // 39 * 8500 px, 34 px each, and what is above
  await page.getByRole('searchbox').fill('rust-libp2p');
  await page.waitForFunction(() => Number(document.querySelector('.grid').getAttribute('aria-rowcount')) < 9000);
  await page.getByRole('button', { name: 'Streams', exact: true }).first().click();
  await rows(page, 'Streams').first().waitFor();
  await page.getByRole('searchbox').fill('');
  await page.waitForFunction(() => document.querySelector('.grid').getAttribute('aria-rowcount') === '30001');
  await v.go('graph');
  await page.getByText('10,000 peers, 2,000 of them drawn').waitFor();
  await filled(page);
  await v.shot('rows-10000-graph');
  await v.done();
});

test('strings that would be more than text are text', async () => {
  for (const size of ['desk', 'phone']) {
    const v = await file(hostile, { size }), { page } = v;
    await page.getByText('missed 7 events').waitFor();
    for (const name of names) {
      await v.go(name);
      await page.waitForTimeout(500);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
      assert.equal(await page.getByText('could not be drawn').count(), 0, name);
      await accessible(page, `${name}, hostile`);
      await v.shot(`hostile-${name}-${size}`);
    }
    await v.go('peers');
    for (const [search, text] of [['<script', '<script>window.attacked=1</script>'], ['<img', '<img src=x onerror="window.attacked=1">'], ['javascript:', 'javascript:attacked=1'], ['dcba', 'abc‹202E›dcba']]) {
      await page.getByRole('searchbox').fill(search);
      await page.waitForFunction((t) => Array.from(document.querySelectorAll('.body bdi')).some((e) => e.textContent === t), text);
    }
    await page.getByRole('searchbox').fill('AAAAAAAAAAAA');
    await page.waitForFunction(() => document.querySelector('.body bdi')?.textContent === `${'A'.repeat(200)}…`);
    const bad = await page.evaluate(() => ({
      attacked: globalThis.attacked, scripts: document.scripts.length, images: Array.from(document.images, (i) => i.getAttribute('src')).filter((s) => s !== 'ui/icon.svg'),
      handlers: Array.from(document.querySelectorAll('*')).filter((e) => Array.from(e.attributes).some((a) => a.name.startsWith('on'))).length,
      links: Array.from(document.querySelectorAll('a'), (a) => a.getAttribute('href')).filter((h) => !h.startsWith('#') && h !== 'https://github.com/ipfsmon/ipfsmon/tree/main/docs'),
    }));
    assert.deepEqual(bad, { attacked: undefined, scripts: bad.scripts, images: [], handlers: 0, links: [] });
    await v.done();
  }
});

test('keys alone are enough', async () => {
  const v = await open(demo), { page } = v;
  await live(page);
  const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.getAttribute('aria-label'));
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'To the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  for (const [i, name] of names.entries()) {
    await page.keyboard.press(String(i + 1));
    await page.waitForFunction((n) => location.hash.startsWith(`#/${n}`) && document.querySelector('nav [aria-current]').getAttribute('href') === `#/${n}`, name);
  }
  await page.keyboard.press('3');
  await rows(page, 'Connections').first().waitFor();
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.type), 'search');
  await page.keyboard.type('8'); // text now, no page
  assert.match(await page.evaluate(() => location.hash), /^#\/peers/);
  await page.keyboard.press('Backspace');
  await page.waitForFunction(() => location.hash === '#/peers');
  await page.locator('.grid').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.locator('[role=row][aria-expanded=true]').first().waitFor();
  await page.locator('.row.inside').first().waitFor();
  assert.match(await page.locator('.row.inside').first().textContent(), /address/);
  await page.keyboard.press('ArrowLeft');
  await until(async () => (await page.locator('.row.inside').count()) === 0, 'a closed row');
  await v.done();
});

test('from a message to its peer and to all of its CID', async () => {
  const v = await open(`${demo}#/bitswap`), { page } = v;
  await live(page);
  await rows(page, 'Bitswap messages').nth(3).waitFor();
  await page.getByRole('button', { name: 'Hold the feed' }).click();
  const top = () => rows(page, 'Bitswap messages').first().textContent();
  let held;
  await until(async () => { held = await top(); await page.waitForTimeout(500); return await top() === held; }, 'what was under way is drawn');
  await page.waitForTimeout(3000);
  assert.equal(await rows(page, 'Bitswap messages').first().textContent(), held);
  await page.getByRole('button', { name: 'Out', exact: true }).click();
  await page.waitForFunction(() => { const w = document.querySelectorAll('.body .way'); return w.length > 0 && Array.from(w).every((e) => e.classList.contains('out')); });
  await page.getByRole('button', { name: 'Both ways' }).click();
  await page.locator('.body a.id[href*="#/bitswap"]').first().click();
  await page.waitForFunction(() => document.querySelector('input.search').value.length > 30);
  const cid = await page.getByRole('searchbox').inputValue();
  assert.equal(decodeURIComponent(await page.evaluate(() => location.hash)), `#/bitswap?q=${cid}`);
  await rows(page, 'Bitswap messages').first().locator('.opener').click();
  await page.getByRole('link', { name: cid }).first().waitFor();
  await page.locator('.body a.id[href*="#/peers"]').first().click();
  await page.waitForFunction(() => location.hash.startsWith('#/peers?q='));
  await v.done();
});

test('events by type have their own columns, and the JSON as it came', async () => {
  const v = await open(`${demo}#/events`), { page } = v;
  await live(page);
  await rows(page, 'Events').nth(3).waitFor();
  await page.getByRole('button', { name: 'None', exact: true }).click();
  await page.getByText('No event in this window.').waitFor();
  const type = page.locator('.chips .chip', { hasText: 'BitswapMessage' });
  assert.equal(await type.getAttribute('aria-pressed'), 'false');
  await type.click();
  await rows(page, 'Events').first().waitFor();
  const heads = await page.locator('[role=columnheader]').allTextContents();
  assert.ok(heads.includes('peer') && heads.includes('direction'), String(heads));
  await rows(page, 'Events').first().locator('.opener').click();
  await page.locator('.json', { hasText: '"peer":' }).first().waitFor();
  await page.waitForTimeout(3000); // what comes in above does not push it away
  assert.ok(await page.locator('.json', { hasText: '"peer":' }).first().isVisible());
  await v.done();
});

test('a token is asked for, and kept for the tab alone', async () => {
  const token = 'right/+~>?'; // what is written otherwise in base64url
  const node = await run(['--connections', '5', '--token', token]);
  const v = await open(node.url, { expected: [/401/, /WebSocket connection/] }), { page } = v;
  const dialog = page.getByRole('dialog', { name: 'This node asks for a token' });
  const show = async (text) => {
    await dialog.getByLabel('Token').fill(text);
    await dialog.getByRole('button', { name: 'Connect' }).click();
  };
  await dialog.waitFor();
  await accessible(page, 'the question for a token');
  await show('wrong');
  await page.waitForFunction(() => document.querySelector('dialog input')?.value === '');
  await show(token);
  await live(page);
  assert.equal(await dialog.count(), 0);
  await page.reload();
  await live(page);
  assert.ok(!page.url().includes('right'));
  const other = await page.context().newPage();
  await other.goto(node.url);
  await other.getByRole('dialog', { name: 'This node asks for a token' }).waitFor();
  await v.done();
});

test('a node that goes away is waited for', async () => {
  const node = await run(['--connections', '5']);
  const v = await open(node.url, { expected: [/WebSocket connection/, /ERR_CONNECTION_REFUSED/] });
  await live(v.page);
  await node.stop();
  await v.page.getByText('The connection to the node is lost').waitFor();
  const again = await run(['--connections', '5', '--listen', new URL(node.url).host]);
  await live(v.page);
  await again.stop();
  await v.done();
});

// The last test: the demo has been running for minutes. `make pictures` copies them.
test('the pictures of the README are small and show the demo', async () => {
  for (const name of ['overview', 'bitswap']) {
    const v = await open(demo);
    await live(v.page);
    await v.go(name);
    await seen[name](v.page);
    await v.shot(`readme-${name}`);
    await v.done();
    const { size } = statSync(join(out, `readme-${name}.png`));
    assert.ok(size > 20_000 && size < 250_000, `readme-${name}.png has ${size} bytes`);
  }
});

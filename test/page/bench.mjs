// How busy the page keeps the browser's main thread while a node with 5,000
// connections, three streams in each, tells its state once a second: the CPU
// time that the thread's tasks took, by the browser's own count
// (Performance.getMetrics), over the time that passed. CPU time, so that other
// programs on the machine do not count. make bench-page runs it; from 30 % on
// it fails.

import { spawn } from 'node:child_process';
import { need, start, visit } from './browser.mjs';

const connections = Number(process.env.PAGE_CONNECTIONS || 5000), seconds = Number(process.env.PAGE_SECONDS || 30), most = 30;
const feed = spawn(need('PAGE_FEED'), ['--connections', String(connections), '--events', '50'], { cwd: need('PAGE_ROOT'), stdio: ['ignore', 'pipe', 'inherit'] });
const url = await new Promise((done, fail) => {
  feed.stdout.on('data', (d) => { const m = /page at (\S+)/.exec(d); if (m) done(m[1]); });
  feed.on('exit', () => fail(new Error('the feed ended')));
});
const b = await start();
let over = false;
try {
  for (const name of process.argv[2] ? process.argv.slice(2) : ['peers', 'peers?show=streams', 'overview', 'bitswap', 'dht', 'events', 'pipeline', 'graph']) {
    const v = await visit(b.browser, `${url}#/${name}`);
    const client = await v.page.context().newCDPSession(v.page);
    await client.send('Performance.enable', { timeDomain: 'threadTicks' });
    const read = async () => Object.fromEntries((await client.send('Performance.getMetrics')).metrics.map((m) => [m.name, m.value]));
    await v.page.waitForFunction(() => document.querySelector('.chip.state')?.textContent === 'Live');
    await v.page.waitForTimeout(name === 'graph' ? 20000 : 5000); // what is done once is not counted
    await v.page.evaluate(() => { // the moment looked at goes on with each state
      globalThis.updates = 0;
      new MutationObserver(() => { globalThis.updates++; }).observe(document.querySelector('.moment'), { childList: true, characterData: true, subtree: true });
    });
    const a = await read();
    await v.page.waitForTimeout(seconds * 1000);
    const z = await read(), passed = z.Timestamp - a.Timestamp, busy = 100 * (z.TaskDuration - a.TaskDuration) / passed;
    const updates = await v.page.evaluate(() => globalThis.updates);
    const rate = updates / passed; // a machine with other work makes fewer
    if (rate < 0.5) {
      console.log(`${name.padEnd(20)} not measured: ${rate.toFixed(2)} updates/s came, the machine is too busy`);
      process.exitCode = 1;
      await v.done();
      continue;
    }
    console.log(`${name.padEnd(20)} ${(busy / rate).toFixed(1).padStart(5)} % busy at one update a second (measured: ${busy.toFixed(1)} % at ${rate.toFixed(2)}), heap ${(z.JSHeapUsedSize / 2 ** 20).toFixed(0)} MiB`);
    over ||= busy / rate >= most;
    await v.done();
  }
} finally {
  await b.close();
  feed.removeAllListeners('exit');
  feed.kill('SIGKILL');
}
if (over) {
  console.log(`${most} % or more`);
  process.exitCode = 1;
}

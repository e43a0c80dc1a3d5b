// The beginning of a fleet's page: it asks the collector that served it for the
// state of the fleet, and draws what it gets.

import { html, render, useEffect, useErrorBoundary, useState } from '../lib/preact-htm.js';
import { shown } from './format.js';
import { Words } from './parts.js';
import { Token } from './shell.js';
import { ask } from './source.js';
import { Fleet } from './fleetview.js';

const stateEvery = 2000, momentsEvery = 60000; // ms

// Feed asks for the state and for the last intervals. The browser's own timers run
// it; one that nobody looks at asks for nothing.
class Feed {
  constructor(changed) {
    this.changed = changed;
    this.fleet = null;
    this.moments = [];
    this.link = 'connecting';
    this.reason = '';
    this.needsToken = false;
    this.token = sessionStorage.getItem('token') || '';
    this.asking = false;
    this.read = 0; // when the moments were
  }

  start() {
    this.update();
    setInterval(() => { if (document.visibilityState === 'visible') this.update(); }, stateEvery);
    document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') this.update(); });
  }

  async update() {
    if (this.asking) return;
    this.asking = true;
    try {
      const fleet = await ask('fleet', this.token);
      if (this.link !== 'open' || Date.now() - this.read > momentsEvery) {
        this.moments = (await ask('fleet/history', this.token)).moments;
        this.read = Date.now();
      }
      this.fleet = fleet;
      this.add(fleet.totals);
      [this.link, this.reason, this.needsToken] = ['open', '', false];
    } catch (err) {
      this.needsToken = err.status === 401;
      [this.link, this.reason] = ['lost', err.message];
    }
    this.asking = false;
    this.changed();
  }

  // add makes a moment of totals that are newer than the last one.
  add(t) {
    const last = this.moments[this.moments.length - 1];
    if (!t || (last && Date.parse(t.time) <= Date.parse(last.time))) return;
    const all = t.sizes.find((s) => s.of === 'all');
    const unknown = { known: false, n: 0, low: 0, high: 0, dependent: false };
    this.moments = [...this.moments, { ...t, size: all ? all.coupon : unknown }];
  }

  setToken(token) {
    this.token = token;
    sessionStorage.setItem('token', token);
    this.needsToken = false;
    this.update();
  }
}

function Whole({ children }) {
  const [fault, again] = useErrorBoundary();
  if (!fault) return children;
  return html`<p class="notice bad" role="alert">This page could not be drawn: ${fault.message}. <button type="button" class="link" onClick=${again}>Try again</button></p>`;
}

const links = { connecting: ['wait', 'Connecting'], lost: ['bad', 'Disconnected'], open: ['good', 'Live'] };

function App() {
  const [, redraw] = useState(0);
  const [feed] = useState(() => new Feed(() => redraw((n) => n + 1)));
  const [version, setVersion] = useState(null);
  useEffect(() => feed.start(), []);
  useEffect(() => {
    if (feed.link === 'open' && !version) ask('version', feed.token).then(setVersion, () => {});
  }, [feed.link]);
  const [tone, text] = links[feed.link];
  return html`<div class="shell alone">
    <header class="top">
      <a class="brand" href="#" aria-label="ipfsmon" onClick=${(e) => e.preventDefault()}><img src="ui/icon.svg" alt="" width="26" height="26" /><span>ipfsmon</span></a>
      <span class="node">${version && html`<b><${Words} max=${40}>${version.monitor}<//></b>`} fleet</span>
      <span class=${`chip state ${tone}`} role="status" title=${shown(feed.reason, 200)}><i aria-hidden="true"></i>${text}</span>
      <span class="gap"></span>
      ${version && html`<span class="note">ipfsmon <${Words} max=${40}>${version.version}<//></span>`}
    </header>
    <main id="main" tabindex="-1">
      <h1 class="away">Fleet</h1>
      ${feed.link === 'lost' && html`<p class="notice bad">The collector does not answer: ${shown(feed.reason, 200)}. It is asked again; what was seen stays.</p>`}
      <${Whole}><${Fleet} fleet=${feed.fleet} moments=${feed.moments} /><//>
    </main>
    ${feed.needsToken && html`<${Token} source=${feed} of="collector" />`}
  </div>`;
}

render(html`<${App} />`, document.getElementById('app'));

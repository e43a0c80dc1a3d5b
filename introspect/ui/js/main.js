// The page's beginning: which page is shown, what all pages have around them,
// and where the data comes from: the node that served this page, or a file.

import { html, render, useEffect, useErrorBoundary, useRef, useState } from '../lib/preact-htm.js';
import { Model } from './model.js';
import { Session } from './session.js';
import { Source } from './source.js';
import { Shell } from './shell.js';
import { Overview } from './overview.js';
import { Bitswap } from './bitswap.js';
import { Peers } from './peers.js';
import { Content } from './content.js';
import { Dht } from './dht.js';
import { Graph } from './graph.js';
import { Events } from './events.js';
import { Pipeline } from './pipeline.js';
import { ProxyView } from './proxy.js';

const pages = [
  ['overview', 'Overview', Overview], ['bitswap', 'Bitswap', Bitswap], ['peers', 'Peers', Peers], ['content', 'Content', Content],
  ['dht', 'DHT', Dht], ['graph', 'Graph', Graph], ['events', 'Events', Events], ['pipeline', 'Pipeline', Pipeline],
  ['proxy', 'Proxy', ProxyView], // where there is one
];

// place reads the address: which page, with which parameters.
function place() {
  const [name, query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  return { page: pages.some((p) => p[0] === name) ? name : 'overview', params: Object.fromEntries(new URLSearchParams(query)) };
}

// setParams puts a page's settings into the address, without a step in the history.
function setParams(page, params) {
  const q = new URLSearchParams(Object.entries(params).filter(([, v]) => v)).toString();
  history.replaceState(null, '', `#/${page}${q ? `?${q}` : ''}`);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

// Whole keeps a fault of one page from taking the others with it.
function Whole({ children }) {
  const [fault, again] = useErrorBoundary();
  if (!fault) return children;
  return html`<p class="notice bad" role="alert">This page could not be drawn: ${fault.message}. <button type="button" class="link" onClick=${again}>Try again</button></p>`;
}

function App({ model, source }) {
  const [, redraw] = useState(0);
  const [at, setAt] = useState(place);
  const first = useRef(true);
  useEffect(() => model.listen(() => redraw((n) => n + 1)), []);
  useEffect(() => {
    const f = () => setAt(place());
    addEventListener('hashchange', f);
    return () => removeEventListener('hashchange', f);
  }, []);
  const [, title, Page] = pages.find((p) => p[0] === at.page);
  useEffect(() => {
    document.title = `${title} · ipfsmon`;
    if (!first.current) document.getElementById('main').focus({ preventScroll: true });
    first.current = false;
  }, [at.page]);
  const view = model.view();
  const isProxy = view.state && view.state.subsystems && view.state.subsystems.proxy;
  const offered = pages.filter(([name]) => name !== 'proxy' || isProxy || at.page === 'proxy');
  return html`<${Shell} view=${view} source=${source} pages=${offered} page=${at.page} title=${title}>
    <${Whole} key=${at.page}><${Page} view=${view} source=${source} params=${at.params} setParams=${(p) => setParams(at.page, { ...at.params, ...p })} /><//>
  <//>`;
}

const model = new Model();
const source = new Source(model, Session);
render(html`<${App} model=${model} source=${source} />`, document.getElementById('app'));
source.start();

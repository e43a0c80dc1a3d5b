// What is around every page: the head with the node and the state of the
// connection, the list of pages, the timeline, dialogs, keys.

import { html, useEffect, useRef, useState } from '../lib/preact-htm.js';
import { bytes, date, number, short, shown } from './format.js';
import { Dot, download, Words } from './parts.js';
import { Timeline } from './timeline.js';

const icons = {
  pause: 'M6 4v12M14 4v12', play: 'M6 3.5v13l10.5-6.5z', out: 'M10 12V2.5M6 6l4-4 4 4M3 12v5h14v-5', open: 'M2.5 16V4.5h5l2 2.5h8V16z',
  gear: 'M3 6h8M15 6h2M3 14h2M9 14h8M13 3.5v5M7 11.5v5', live: 'M10 3a7 7 0 1 0 7 7M10 6v4l3 2',
};

function Icon({ of }) {
  return html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true"><path d=${icons[of]} /></svg>`;
}

function Action({ icon, name, onClick, pressed }) {
  return html`<button type="button" class="action" onClick=${onClick} title=${name} aria-pressed=${pressed}><${Icon} of=${icon} /><span>${name}</span></button>`;
}

function Link({ model, live }) {
  const words = {
    connecting: ['wait', 'Connecting'], lost: ['bad', 'Disconnected'], file: ['file', 'File'],
    open: model.paused ? ['wait', 'Paused'] : live ? ['good', 'Live'] : ['wait', 'In the past'],
  };
  const [tone, text] = model.link === 'file' && model.paused ? ['file', 'File'] : words[model.link];
  return html`<span class=${`chip state ${tone}`} role="status" title=${shown(model.linkReason, 200)}><i aria-hidden="true"></i>${text}</span>`;
}

// Setting is one of the node's two figures; it is changed without the other.
function Setting({ name, unit, value, least, most, step, save }) {
  const [text, setText] = useState(null), [told, setTold] = useState('');
  const submit = (e) => {
    e.preventDefault();
    const n = Number(text ?? value);
    if (!(n >= least && n <= most)) return setTold(`${least} to ${most} ${unit} are possible.`);
    save(n * 1000, (fault) => { setTold(fault ? `Not changed: ${fault}.` : 'Changed.'); setText(null); });
  };
  return html`<form class="setting" onSubmit=${submit}>
    <label>${name} <span class="muted">(${unit}, ${least} to ${most})</span>
      <input type="number" min=${least} max=${most} step=${step} value=${text ?? value} onInput=${(e) => setText(e.currentTarget.value)} required /></label>
    <button type="submit">Change</button>
    <p role="status" class="muted">${told}</p>
  </form>`;
}

const documents = 'https://github.com/ipfsmon/ipfsmon/tree/main/docs';

// zone names the time zone that the page's times are of: the browser's.
function zone() {
  const minutes = -new Date().getTimezoneOffset(), two = (n) => String(n).padStart(2, '0');
  const offset = `UTC${minutes < 0 ? '−' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return minutes === 0 ? 'UTC' : name ? `${name}, ${offset}` : offset;
}

function Settings({ view, source, pages, close }) {
  const { model } = view, box = useRef(null), r = model.runtime;
  useEffect(() => { box.current.showModal(); }, []);
  const save = (key) => (ms, done) => (source.session ? source.session.configure({ [key]: ms }, done) : done('a file is open'));
  const facts = r ? [['Peer', r.peer_id], ['Monitor', r.monitor], ['ipfsmon', r.monitor_version], ['Implementation', `${r.implementation} ${r.version}`], ['kubo', r.kubo], ['Go', r.go], ['System', r.platform],
    ['Started', date(r.start_ts)], ['Times', zone()]] : [];
  return html`<dialog ref=${box} onClose=${close} aria-labelledby="settings-title">
    <header><h2 id="settings-title">Settings</h2><button type="button" class="link" onClick=${() => box.current.close()}>Close</button></header>
    <${Setting} name="A state every" unit="s" least=${0.5} most=${60} step="0.1" value=${model.interval / 1000} save=${save('state_snapshot_interval_ms')} />
    <${Setting} name="Looking back" unit="s" least=${1} most=${120} step="1" value=${model.retention / 1000} save=${save('retention_period_ms')} />
    <h3>Held now</h3>
    <p class="muted">${number(model.states.length)} states, ${number(model.events.length)} events, ${bytes(model.stateBytes + model.eventBytes)}</p>
    ${facts.length > 0 && html`<h3>Node</h3><dl>${facts.filter(([, v]) => v && v.trim()).map(([k, v]) => html`<dt key=${k}>${k}</dt><dd><${Words}>${v}<//></dd>`)}</dl>`}
    <p><a href=${documents} target="_blank" rel="noreferrer">Documents</a></p>
    <h3>Keys</h3>
    <p class="muted"><kbd>1</kbd> to <kbd>${pages.length}</kbd> the pages, <kbd>p</kbd> pause and resume, <kbd>/</kbd> search, arrows in tables, <kbd>Enter</kbd> opens a row.</p>
  </dialog>`;
}

// Token asks for the token of what served the page.
export function Token({ source, of = 'node' }) {
  const box = useRef(null);
  useEffect(() => { box.current.showModal(); }, []);
  const submit = (e) => {
    e.preventDefault();
    const token = box.current.querySelector('input').value.trim();
    if (token) source.setToken(token);
  };
  return html`<dialog ref=${box} aria-labelledby="token-title" onCancel=${(e) => e.preventDefault()}>
    <header><h2 id="token-title">This ${of} asks for a token</h2></header>
    <form class="setting" onSubmit=${submit}><label>Token <input type="password" autocomplete="off" required /></label><button type="submit">Connect</button></form>
    <p class="muted">It is kept until this tab is closed.</p>
  </dialog>`;
}

export function Shell({ view, source, pages, page, title, children }) {
  const { model } = view;
  const [settings, setSettings] = useState(false), [over, setOver] = useState(false);
  const file = useRef(null), now = useRef(pages); // the keys' pages, of which there may come more
  now.current = pages;
  const pause = () => (model.paused ? source.resume() : source.pause());
  const save = () => download(`ipfsmon-${date(model.lastTime() || Date.now()).replace(/[ :]/g, '-')}.ipfsmon-capture`, model.exported());
  useEffect(() => {
    const files = (e) => e.dataTransfer && Array.from(e.dataTransfer.types).includes('Files');
    const drag = (e) => { if (files(e)) { e.preventDefault(); setOver(true); } };
    const leave = (e) => { if (!e.relatedTarget) setOver(false); };
    const drop = (e) => {
      if (!files(e)) return;
      e.preventDefault();
      setOver(false);
      if (e.dataTransfer.files[0]) source.open(e.dataTransfer.files[0]);
    };
    const keys = (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest('input, textarea, select, dialog')) return;
      const n = Number(e.key);
      if (n >= 1 && n <= now.current.length) location.hash = `#/${now.current[n - 1][0]}`;
      else if (e.key === 'p') (model.paused ? source.resume() : source.pause());
      else if (e.key === '/' && document.querySelector('main .search')) document.querySelector('main .search').focus();
      else return;
      e.preventDefault();
    };
    const all = [['dragover', drag], ['dragleave', leave], ['drop', drop], ['keydown', keys]];
    for (const [name, f] of all) addEventListener(name, f);
    return () => { for (const [name, f] of all) removeEventListener(name, f); };
  }, []);

  useEffect(() => {
    document.querySelector('nav [aria-current]').scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [page]);

  const r = model.runtime;
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById('main').focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href="#/overview" aria-label="ipfsmon, overview"><img src="ui/icon.svg" alt="" width="26" height="26" /><span>ipfsmon</span></a>
      ${r && html`<span class="node" title=${shown(r.peer_id, 200)}>${r.monitor && html`<b><${Words} max=${40}>${r.monitor}<//></b>`}
        ${r.peer_id && html`<span class="id"><${Dot} of=${r.peer_id} />${short(r.peer_id)}</span>`}</span>`}
      <${Link} model=${model} live=${view.live} />
      ${model.file && html`<span class="chip file-name"><${Words} max=${60}>${model.file}<//></span>`}
      ${model.missed > 0 && html`<span class="chip warn" role="status">missed ${number(model.missed)} events</span>`}
      <span class="gap"></span>
      <${Action} icon=${model.paused ? 'play' : 'pause'} name=${model.paused ? 'Resume' : 'Pause'} onClick=${pause} />
      ${model.file && html`<${Action} icon="live" name="Back to the node" onClick=${() => source.back()} />`}
      <${Action} icon="out" name="Export" onClick=${save} />
      <${Action} icon="open" name="Open" onClick=${() => file.current.click()} />
      <input ref=${file} type="file" class="away" tabindex="-1" aria-label="Capture file" onChange=${(e) => { if (e.currentTarget.files[0]) source.open(e.currentTarget.files[0]); e.currentTarget.value = ''; }} />
      <${Action} icon="gear" name="Settings" onClick=${() => setSettings(true)} />
    </header>
    <nav aria-label="Pages">${pages.map(([name, text], i) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === page ? 'page' : undefined}>${text}<kbd aria-hidden="true">${i + 1}</kbd></a>`)}
      <footer class="about">${r && r.monitor_version && html`<span>ipfsmon <${Words} max=${40}>${r.monitor_version}<//></span>`}<span>${zone()}</span><a class="plain" href=${documents} target="_blank" rel="noreferrer">Documents</a></footer></nav>
    <main id="main" tabindex="-1">
      <h1 class="away">${title}</h1>
      ${r && !r.named && html`<p class="notice">This node's privacy setting hides the names of peers and content: only sums are shown.</p>`}
      ${model.link === 'lost' && html`<p class="notice bad">The connection to the node is lost${model.linkReason ? `: ${shown(model.linkReason, 200)}` : ''}. Reconnecting; what was seen stays.</p>`}
      ${children}
    </main>
    <${Timeline} view=${view} />
    <div class="messages" role="status">${model.messages.map((m) => html`<p>${m.text}</p>`)}</div>
    ${over && html`<div class="drop">Drop a capture file here</div>`}
    ${settings && html`<${Settings} view=${view} source=${source} pages=${pages} close=${() => setSettings(false)} />`}
    ${source.needsToken && html`<${Token} source=${source} />`}
  </div>`;
}


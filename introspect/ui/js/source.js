// Where the data comes from: the session with the node, its store's last hour,
// or a capture file; and the token, where the node asks for one.

const historyEvery = 60000; // ms
const base = 'metric_plugin/v1/';

// base64url writes a token for the WebSocket's sub-protocol.
function base64url(text) {
  const s = Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join('');
  return btoa(s).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

// ask asks the HTTP API and gives the result, or throws {status}.
export async function ask(path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL(base + path, document.baseURI), { headers });
  if (!response.ok) throw Object.assign(new Error(`status ${response.status}`), { status: response.status });
  return (await response.json()).result;
}

export class Source {
  constructor(model, Session) {
    this.model = model;
    this.Session = Session;
    this.session = null;
    this.needsToken = false;
    this.token = sessionStorage.getItem('token') || '';
    this.historyFault = '';
  }

  start() {
    this.connect();
    this.readHistory();
    setInterval(() => {
      if (document.visibilityState === 'visible') this.readHistory();
    }, historyEvery);
  }

  connect() {
    const url = new URL('introspect', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = url.search = '';
    const source = this;
    // Each new connection takes the token that is known then.
    class Socket extends WebSocket {
      constructor(to) {
        super(to, source.token ? ['ipfsmon.introspect', `ipfsmon.bearer.${base64url(source.token)}`] : ['ipfsmon.introspect']);
        let opened = false;
        this.addEventListener('open', () => { opened = true; });
        this.addEventListener('close', () => { if (!opened) source.probe(); });
      }
    }
    this.session = new this.Session(url.href, this.model, { Socket });
  }

  get(path) { return ask(path, this.token); }

  // probe finds out whether it is the token that is missing: a browser does not
  // tell why a WebSocket was refused.
  async probe() {
    try {
      await this.get('version');
    } catch (err) {
      if (err.status === 401 && !this.needsToken) {
        this.needsToken = true;
        this.model.changed();
      }
    }
  }

  setToken(token) {
    this.token = token;
    sessionStorage.setItem('token', token);
    this.needsToken = false;
    if (this.session) this.session.close();
    this.connect();
    this.readHistory();
    this.model.changed();
  }

  // readHistory fetches the last hour out of the store.
  async readHistory() {
    if (this.model.file) return;
    try {
      const history = await this.get('history?since=1h&step=30s');
      if (this.model.file) return;
      this.historyFault = '';
      this.model.setHistory(history);
    } catch (err) {
      this.historyFault = err.status === 503 ? 'no store answers' : 'it could not be read';
      this.model.changed();
    }
  }

  pause() {
    if (this.session) this.session.pause();
    this.model.setPaused(true);
  }

  resume() {
    if (this.session) this.session.resume();
    this.model.setPaused(false);
  }

  // open shows a file instead of the node.
  async open(file) {
    try {
      const buffer = await file.arrayBuffer();
      this.model.open(file.name, buffer);
      if (this.session) this.session.close();
      this.session = null;
    } catch (err) {
      this.model.say(`${file.name} could not be opened: ${err.message}.`);
    }
  }

  // back leaves the file for the node.
  back() {
    this.model.clear();
    this.connect();
    this.readHistory();
  }
}

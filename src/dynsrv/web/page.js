'use strict';
// The script of the status page; page.py puts it into page.html.
//
// `rows` holds the rows of /api/v1/events. Soon after an event, `snapshot` joins the rows, `findings` says what is wrong
// in them, and `draw` updates the page from both, a few milliseconds at a time. All data gets into the page as text, by
// `put`: names, reasons and errors come from outside.

const PERIOD = 400;      // ms between two drawings at least
const SLICE = 10;        // ms of drawing at once
const FEW = 100;         // servers of a backend that are shown before `Show all`
const MOST = 12;         // findings, and notes, in the summary
const HEARTBEAT = 4000;  // ms between two checks that dynsrv is still reachable
const ASLEEP = 150_000;  // ms without a heartbeat after which this machine must have slept

const $ = (id) => document.getElementById(id);
const pad = (number) => String(number).padStart(2, '0');
const thousands = (number) => number.toLocaleString('en');
const count = (number, one, many = `${one}s`) => `${thousands(number)} ${number === 1 ? one : many}`;
const natural = (text) => text.replace(/\d+/g, (digits) => digits.padStart(6, '0'));  // web-2 comes before web-10
const by = (key) => (one, other) => one[key] < other[key] ? -1 : Number(one[key] > other[key]);
const hostPort = ({address, port}) => address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
const placeOf = ({backend, proxy}) => `${backend} on ${proxy}`;
const searched = (...texts) => texts.join(' ').toLowerCase();
const sum = (items, number) => items.reduce((total, one) => total + number(one), 0);

function some(names, few = 3) {
  const rest = names.length - few;
  return rest > 1 ? `${names.slice(0, few).join(', ')} and ${thousands(rest)} more` : names.join(', ');
}

/** Return `text` without the first of `prefixes` that it begins with. */
function without(text, ...prefixes) {
  return text.slice(prefixes.find((one) => text.startsWith(one))?.length ?? 0);
}

// ---- times: by dynsrv's clock, because the clock of this machine may be wrong

let ahead = 0;  // ms
const now = () => Date.now() + ahead;

function clock(time) {
  const date = new Date(time);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const hours = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return date.toDateString() === new Date(now()).toDateString() ? hours : `${day} ${hours}`;
}

function age(time) {
  const seconds = Math.max(0, Math.round((now() - Date.parse(time)) / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

// ---- the rows, by their keys in the events

const rows = new Map();

function apply({reset, set, unset}) {
  if (reset) rows.clear();
  for (const key of unset) rows.delete(key);
  for (const [key, data] of Object.entries(set)) rows.set(key, read(key, data));
}

const MISSING = {name: '', state: 'missing', ours: true, serving: false, as_desired: false, waits_for: 'addition'};

/** Return a row with what drawing it needs besides; `is` is the kind of row. */
function read(key, data) {
  const [is] = key.split(':', 1);
  const row = {...data, key, is};
  if (is === 'change') row.text = searched(row.backend, row.proxy, row.server, row.step, row.reason, row.detail);
  if (is === 'missing') Object.assign(row, MISSING, {address: hostPort(row)});
  if (is === 'server' || is === 'missing') {
    row.down = row.state === 'ready' && !row.serving && row.weight > 0;
    row.failing = row.ours && (row.down || (row.waits_for === 'check' && row.check === 'failed'));
    row.trouble = row.ours && (row.as_desired === false || row.down);
    row.order = `${row.trouble ? 0 : 1} ${natural(row.name || row.address)}`;
    row.text = searched(placeOf(row), row.name, row.address, row.state, row.operational, row.check, row.why);
  }
  return row;
}

/** Return the rows, joined and sorted. */
function snapshot() {
  const of = (...kinds) => [...rows.values()].filter(({is}) => kinds.includes(is));
  const proxies = of('proxy').sort(by('proxy'));
  const sources = of('source').sort(by('key'));
  const changes = of('change').sort((one, other) => other.number - one.number);
  const backends = of('backend').map((one) => ({...one, order: natural(placeOf(one)), servers: []})).sort(by('order'));
  const places = new Map(backends.map((one) => [placeOf(one), one]));
  for (const server of of('server', 'missing').sort(by('order'))) places.get(placeOf(server))?.servers.push(server);
  const last = new Map();  // each server's last change
  for (const one of changes) {
    const server = `${one.server} of ${placeOf(one)}`;
    if (!last.has(server)) last.set(server, one);
  }
  const refused = [...last.values()].filter(({outcome}) => outcome !== 'done');
  for (const one of backends) {
    one.silent = proxies.some(({proxy, error}) => proxy === one.proxy && error !== null);
    one.fresh = !one.silent && one.error === null && one.converged !== null;  // its current state is known
    one.refused = one.converged ? [] : refused.filter((change) => placeOf(change) === placeOf(one));
  }
  const fresh = backends.filter((one) => one.fresh);
  const about = rows.get('dynsrv');
  return {about, abouts: about ? [{...about, proxy: 'configuration'}] : [], proxies, sources, backends, fresh, changes};
}

// ---- the findings: what is wrong with which of them, the most important first

const LEVELS = {problem: 'Problem', warning: 'Warning', note: 'Note'};

/** What each rule is about, its level, and its sentence if it applies. */
const RULES = [
  ['abouts', 'problem', ({configuration_error: error}) => error !== null &&
    `The configuration file is invalid, so the previous configuration is in use: ${error}`],
  ['proxies', 'problem', ({proxy, error}) => error !== null &&
    `does not answer: ${without(error, `${proxy}: `)}. Its servers are shown as last observed, and cannot be ` +
    'changed until it answers.'],
  ['backends', 'problem', ({backend, proxy, error, silent}) => error !== null && !silent &&
    `Cannot be managed: ${without(error, `backend ${backend} on ${proxy}: `, `${proxy}: `)}`],
  ['fresh', 'problem', ({desired, servers}) => desired > 0 && !servers.some(({serving}) => serving) &&
    `No server gets requests, although ${count(desired, 'is', 'are')} desired.`],
  ['fresh', 'problem', ({refusals}) => refusals.length > 0 &&
    `The guard blocks removals: ${reasons(refusals)}, or use the button of this backend.`],
  ['sources', 'problem', ({kind, error, last_answer: answer}) => error !== null &&
    `The source (${kind}) fails: ${error}. ` + (answer === null
      ? 'It has not answered yet, so nothing is changed.'
      : `dynsrv keeps the servers of its last answer, from ${clock(answer)}.`)],
  ['fresh', 'problem', ({refused: [first, ...others]}) => first &&
    `HAProxy did not ${first.step.replaceAll('_', ' ')} ${first.server}: ${first.detail}` +
    (others.length ? `, and ${others.length} more` : '')],
  ['proxies', 'warning', ({config_files: files}) => files.some(({error}) => error !== null) &&
    `has a configuration file that cannot be kept current: ${files.map(({error}) => error).filter(Boolean).join('; ')}. ` +
    'A reload or restart of it would use the last one written.'],
  ['fresh', 'warning', ({servers}) => named(servers.filter(({failing}) => failing),
    'server gets no requests, because its check fails', 'servers get no requests, because their checks fail')],
  ['sources', 'warning', ({ignored}) => ignored.length > 0 &&
    `The source has ${count(ignored.length, 'entry', 'entries')} that cannot be used as is: ${some(ignored, 1)}.`],
  ['proxies', 'note', ({up, error}) => !up && error === null && 'has not answered yet.'],
  ['sources', 'note', ({kind, up, error}) => !up && error === null && `The source (${kind}) has not answered yet.`],
  ['fresh', 'note', ({servers}) => waiting(servers)],
  ['fresh', 'note', ({servers}) => named(servers.filter((one) => one.waits_for === 'operator'),
    'server is held by an operator', 'servers are held by an operator')],
  ['backends', 'note', ({guard_overridden_until: until}) => until && Date.parse(until) > now() &&
    `The guard is overridden until ${clock(until)}.`],
];

const WAITS = {
  check: ['server waits for its check', 'servers wait for their checks'],
  successor: ['server serves until a new one does', 'servers serve until new ones do'],
  sessions: ['server is draining', 'servers are draining'],
  config_file: ['server serves until the configuration file is without it',
    'servers serve until the configuration file is without them'],
  removal: ['server waits for its deletion', 'servers wait for their deletion'],
  addition: ['server is not added yet', 'servers are not added yet'],
  null: ['server is about to change', 'servers are about to change'],
};

const reasons = (refusals) => refusals.map(({reason}) => reason).join('; ');

function named(servers, one, many) {
  return servers.length > 0 && `${count(servers.length, one, many)}: ${some(servers.map(({name}) => name))}.`;
}

function waiting(servers) {
  const those = servers.filter((one) => one.ours && one.as_desired === false && !one.failing);
  const numbers = Object.entries(WAITS).map(([what, words]) => {
    const number = those.filter((one) => String(one.waits_for) === what).length;
    return number > 0 && count(number, ...words);
  });
  const text = numbers.filter(Boolean).join(', ');
  return text && `${text}.`;
}

function findings(seen) {
  const found = lost ? [{level: 'problem', proxies: [], text: lostSentence(), key: 'lost'}] : [];
  for (const level of Object.keys(LEVELS)) {
    for (const [things, , rule] of RULES.filter((one) => one[1] === level)) {
      for (const one of seen[things]) {
        const {backend, proxy, proxies = [proxy]} = one, text = rule(one);  // a source has several proxies
        const where = !backend ? proxy : proxy ? placeOf(one) : backend;
        const place = seen.backends.find((it) => it.backend === backend && it.proxy === proxies[0]);
        const link = place ? `#${encodeURIComponent(place.key)}` : '#infrastructure';
        if (text) found.push({level, backend, proxies, where, link, text, key: `${one.key} ${text}`});
      }
    }
  }
  return found;
}

const worst = (found) => found[0]?.level ?? 'good';

function verdict(found, {backends}) {
  const level = worst(found), number = sum(found, (one) => one.level === level);
  if (level === 'good') return 'Everything is in sync';
  if (level !== 'note') return count(number, level);
  return backends.every(({converged}) => converged) ? 'In sync' : 'Changes in progress';
}

// ---- drawing, in slices: what draws much is a function* that yields now and then

let drawing = null, timer = null;

function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    if (drawing && !document.hidden) return soon();
    const seen = snapshot(), found = findings(seen);
    document.title = worst(found) === 'good' ? 'dynsrv' : `${verdict(found, seen)} - dynsrv`;  // even in a hidden tab
    if (!drawing) requestAnimationFrame(slice);
    drawing = draw(seen, found);
  }, PERIOD);
}

function slice() {
  const end = performance.now() + SLICE;
  do if (drawing.next().done) { drawing = null; return; } while (performance.now() < end);
  requestAnimationFrame(slice);
}

const shown = new WeakMap();     // element: what it shows
const elements = new WeakMap();  // parent: its elements by key

/** Make the children of `parent` show `items`, which have keys, in their order; `update` draws what is new. */
function* fill(parent, items, template, update) {
  const known = elements.get(parent) ?? elements.set(parent, new Map()).get(parent);
  const wanted = new Set(items.map(({key}) => key));
  const focused = document.activeElement;
  let number = 0;
  for (const [key, element] of known) {
    if (wanted.has(key)) continue;
    element.remove();
    known.delete(key);
    if (++number % 20 === 0) yield;
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    if (!known.has(item.key)) known.set(item.key, $(template).content.firstElementChild.cloneNode(true));
    const element = known.get(item.key);
    if (shown.get(element) !== item) { shown.set(element, item); update(element, item); }
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
    if (++number % 20 === 0) yield;
  }
  const moved = focused.isConnected && document.activeElement === document.body;  // which takes the focus away
  if (moved) focused.focus({preventScroll: true});
}

/** Write `text`, unless it is there already. */
function put(element, text) {
  const written = String(text ?? '');
  if (element.textContent !== written) element.textContent = written;
}

function putTime(element, time, write = clock) {
  element.hidden = !time;
  element.dateTime = element.title = time ?? '';
  put(element, time && write(time));
}

function* draw(seen, found) {
  yield* drawSummary(seen, found);
  yield* fill($('proxies'), seen.proxies, 'proxy-row', drawProxy);
  yield* fill($('sources'), seen.sources, 'source-row', drawSource);
  yield* drawBackends(seen.backends, found);
  yield* fill($('history'), seen.changes.filter(({text}) => matches(text)), 'change-row', drawChange);
}

function* drawSummary(seen, found) {
  const {about, backends, fresh, proxies} = seen;
  const live = fresh.flatMap(({servers}) => servers.filter(({ours, is}) => ours && is === 'server'));
  const desired = sum(fresh, (one) => one.desired), serving = sum(live, (one) => one.serving);
  const names = new Set(backends.map(({backend}) => backend));
  const others = backends.filter((one) => !one.fresh).map(placeOf);
  put($('about'), about && `${about.version}, running since ${clock(about.started)}`);
  put($('verdict'), verdict(found, seen));
  put($('figures'), `${count(names.size, 'backend')} on ${count(proxies.length, 'proxy', 'proxies')}: ` +
    `${count(desired, 'server')} desired, ${thousands(live.length)} live, ${thousands(serving)} of them get requests.` +
    (others.length ? ` Not counted: ${some(others)}.` : ''));
  $('summary').className = `card ${worst(found)}`;
  yield* fill($('findings'), firstOf(found.filter(important)), 'finding', drawFinding);
  yield* fill($('notes'), firstOf(found.filter((one) => !important(one))), 'finding', drawFinding);
}

const important = ({level}) => level !== 'note';  // what a screen reader announces at once

function firstOf(found) {
  const rest = found.length - MOST;
  const more = {level: found[MOST]?.level, text: `${thousands(rest)} more, at the backends.`, key: `more ${rest}`};
  return rest > 1 ? [...found.slice(0, MOST), more] : found;
}

function drawFinding(item, {level, backend, where, link, text}) {
  const [word, {children: [anchor, sentence]}] = item.children;
  word.className = level;
  put(word, LEVELS[level]);
  anchor.hidden = !where;
  anchor.href = link ?? '';
  put(anchor, where);
  put(sentence, where ? `${backend ? ':' : ''} ${text}` : text);
}

function drawProxy({cells: [name, address, version, pid, state]}, proxy) {
  put(name, proxy.proxy);
  put(address, proxy.address);
  put(version, proxy.version);
  put(pid, proxy.pid);
  put(state, proxy.up ? 'answers' : proxy.error === null ? 'has not answered yet' : 'does not answer');
  state.className = proxy.up ? '' : 'problem';
}

function drawSource({cells: [backend, kind, state, answer, endpoints, ignored]}, source) {
  const [when] = answer.children, [time, ago] = when.children;
  put(backend, source.backend);
  put(kind, source.kind);
  put(state, source.up ? 'answers' : source.error === null ? 'has not answered yet' : `fails (${source.reason})`);
  state.className = source.up ? '' : 'problem';
  when.hidden = !source.last_answer;
  putTime(time, source.last_answer);
  putTime(ago, source.last_answer, age);
  put(endpoints, source.endpoints === null ? '' : thousands(source.endpoints));
  put(ignored, source.ignored.join('; ') || 'nothing');
}

function drawChange({cells: [time, where, step, server, outcome, why]}, change) {
  const done = change.outcome === 'done';
  putTime(time.firstElementChild, change.time);
  put(where, placeOf(change));
  put(step, change.step.replaceAll('_', ' '));
  put(server, change.server);
  put(outcome, change.outcome);
  outcome.className = done ? '' : 'problem';
  put(why, done ? change.reason : `${change.reason}; HAProxy said: ${change.detail}`);
}

// ---- drawing the servers of each backend

const unfolded = new Set();  // backends of which all servers are shown
const words = () => $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
const matches = (text) => words().every((word) => text.includes(word));

function* drawBackends(backends, found) {
  const wrongOnly = $('wrong-only').checked, filtered = wrongOnly || words().length > 0;
  const items = backends.map((one) => ({
    ...one,
    findings: found.filter(({backend, proxies}) => backend === one.backend && proxies.includes(one.proxy)),
    visible: one.servers.filter(({text, trouble}) => (trouble || !wrongOnly) && matches(text)),
  }));
  const all = sum(items, ({servers}) => servers.length), visible = sum(items, (one) => one.visible.length);
  put($('matches'), filtered ? `${thousands(visible)} of ${count(all, 'server')}` : count(all, 'server'));
  const wrong = (one) => one.silent || one.findings.length > 0;
  const kept = items.filter((one) => !filtered || one.visible.length || (!words().length && wrong(one)));
  yield* fill($('sections'), kept, 'backend-section', () => {});
  for (const one of kept) {
    yield* drawBackend(elements.get($('sections')).get(one.key), one);
    yield;
  }
}

function* drawBackend({children: [head, list, table, more]}, one) {
  const [title, state, counts, override] = head.children;
  const servers = unfolded.has(one.key) ? one.visible : one.visible.slice(0, FEW);
  const sentences = one.findings.filter(important).map((finding) => ({...finding, where: ''}));
  title.id = encodeURIComponent(one.key);
  table.setAttribute('aria-labelledby', title.id);
  put(title, placeOf(one));
  [state.className, state.textContent] = stateOf(one);
  put(counts, [...tally(one)].join(', '));
  override.hidden = !one.fresh || !one.refusals.length;
  yield* fill(list, sentences, 'finding', drawFinding);
  table.hidden = !servers.length;
  const known = one.fresh ? servers : servers.map((server) => dated(server, one));
  yield* fill(table.tBodies[0], known, 'server-row', drawServer);
  const [sentence, unfold] = more.children, number = thousands(one.visible.length);
  more.hidden = one.visible.length <= FEW;
  put(sentence, `${thousands(servers.length)} of ${number} servers, those that are not as desired first.`);
  put(unfold, unfolded.has(one.key) ? `Show ${FEW}` : `Show all ${number}`);
}

/** Return the class and the words for the state of a backend. */
function stateOf({silent, error, converged, refusals}) {
  if (silent) return ['state problem', 'HAProxy does not answer'];
  if (error !== null) return ['state problem', 'cannot be managed'];
  if (converged === null) return ['state note', 'not observed yet'];
  return converged ? ['state good', 'in sync'] : [`state ${refusals.length ? 'problem' : 'note'}`, 'out of sync'];
}

/** Return a server as it is shown while its current state is not known: as last observed. */
function dated(server, {silent}) {
  const why = `${silent ? 'HAProxy does not answer' : 'the backend cannot be managed'}; last observed: ${server.why}`;
  if (server.dated?.why !== why) server.dated = {...server, why, unknown: true};
  return server.dated;
}

function* tally({converged, desired, servers, fresh, seen}) {
  const ours = servers.filter((one) => one.ours), live = ours.filter(({is}) => is === 'server');
  if (desired !== null) yield `${thousands(desired)} desired`;
  if (!fresh && servers.length) yield 'as last observed';
  if (converged !== null) yield `${thousands(live.length)} live`;
  const parts = {
    'get requests': live.filter(({serving}) => serving),
    down: live.filter(({down}) => down),
    draining: live.filter(({state}) => state === 'drain'),
    'in maintenance': live.filter(({state}) => state === 'maint'),
    'with weight 0': live.filter(({state, weight}) => state === 'ready' && !weight),
    missing: ours.filter(({is}) => is === 'missing'),
    'not managed': servers.filter((one) => !one.ours),
  };
  for (const [what, those] of Object.entries(parts)) if (those.length) yield `${thousands(those.length)} ${what}`;
  if (seen) yield `observed ${clock(seen)}`;
}

function drawServer(tr, server) {
  const [name, address, requests, state, check, weight, sessions, drains, why, {children: [button]}] = tr.cells;
  const held = ['operator', 'agent'].includes(server.waits_for), mayHold = server.ours && server.state === 'ready';
  const may = server.unknown ? '' : held ? 'Release' : mayHold ? 'Hold' : '';
  tr.className = server.failing ? 'failing' : server.trouble ? 'trouble' : server.ours ? '' : 'foreign';
  put(name, server.name || 'none yet');
  put(address, server.address);
  put(requests.firstElementChild, server.unknown ? 'unknown' : server.serving ? 'yes' : 'no');
  requests.firstElementChild.className = server.unknown ? '' : server.serving ? 'dot full' : 'dot';
  put(state, server.operational ? `${server.state} / ${server.operational}` : server.state);
  put(check, server.check);
  check.className = server.check === 'failed' ? 'before problem' : 'before';
  put(weight, server.weight);
  put(sessions, server.sessions);
  putTime(drains.firstElementChild, server.draining_since, age);
  put(why, server.why);
  put(button, may);
  button.hidden = !may;
  button.dataset.do = may.toLowerCase();
  button.setAttribute('aria-label', `${may} ${server.name}`);
}

setInterval(() => {
  for (const one of document.getElementsByClassName('age')) if (!one.hidden) put(one, age(one.dateTime));
}, 1000);

// ---- reading the events, and noticing when they stop: a broken network says nothing

let events = null, lost = null, heard = Date.now(), beat = Date.now();

function subscribe() {
  events = new EventSource('/api/v1/events');
  events.onerror = lose;
  events.onmessage = ({data}) => {
    apply(JSON.parse(data));
    lost = null;
    heard = Date.now();
    drawConnection();
    soon();
  };
}

function lose() {
  events?.close();
  events = null;
  lost ??= heard;
  drawConnection();
  soon();
}

const lostSentence = () =>
  `Not connected to dynsrv since ${clock(lost + ahead)}: this data is old. Reconnecting every few seconds.`;

function drawConnection() {
  $('connection').className = lost ? 'dot problem' : 'dot full';
  put($('connection'), lost ? 'not connected' : 'live');
  $('lost').hidden = !lost;
  put($('lost'), lost && lostSentence());
}

async function heartbeat() {
  const slept = Date.now() - beat > ASLEEP;
  try {
    const answer = await fetch('/healthz', {cache: 'no-store', signal: AbortSignal.timeout(HEARTBEAT)});
    const difference = Date.parse(answer.headers.get('Date')) - Date.now();
    ahead = Math.abs(difference) > 2000 ? difference : 0;
    if (slept) lose();
    if (!events) subscribe();
    else if (!lost) heard = Date.now();
  } catch {
    lose();
  }
  beat = Date.now();
  setTimeout(heartbeat, HEARTBEAT);
}

// ---- changing something: confirmed in a dialog, with the token, which is kept in memory only

let token = '', request = null;

const pathOf = (backend, ...rest) => ['backends', encodeURIComponent(backend), ...rest].join('/');
const pathTo = (backend, server, what) => pathOf(backend, 'servers', encodeURIComponent(server), what);

const QUESTIONS = {
  reconcile: () => ({
    question: 'Reconcile now?', submit: 'Reconcile', path: 'reconcile',
    text: 'dynsrv compares every HAProxy with the desired servers now, instead of at the next resync.',
  }),
  override: ({backend, proxy, refusals}) => ({
    question: 'Override the guard for 10 minutes?', submit: 'Override', backend, proxy,
    path: pathOf(backend, 'override-guard'), body: {duration: '10m'},
    text: `${placeOf({backend, proxy})}: servers that are no longer in the source are removed. The guard says: ` +
      `${reasons(refusals)}.`,
  }),
  hold: ({backend, proxy}, name) => ({
    question: `Hold ${name}?`, submit: 'Hold', backend, proxy,
    path: pathTo(backend, name, 'hold'), body: {state: 'drain'},
    text: `${placeOf({backend, proxy})}: it gets no new requests until it is released. A reload of HAProxy ` +
      'ends the hold, and the server is still removed if it is no longer in the source.',
  }),
  release: ({backend, proxy}, name) => ({
    question: `Release ${name}?`, submit: 'Release', backend, proxy,
    path: pathTo(backend, name, 'release'),
    text: `${placeOf({backend, proxy})}: it gets requests again.`,
  }),
};

function ask(question) {
  const those = [...rows.values()].filter((one) => one.is === 'backend' && one.backend === question.backend);
  request = question;
  $('dialog').firstElementChild.reset();
  put($('question'), question.question);
  put($('explanation'), question.text);
  put($('submit'), question.submit);
  $('how').hidden = !question.body?.state;
  $('everywhere').hidden = those.length < 2;
  put($('everywhere').lastElementChild,
    `on all ${those.length} proxies that have ${question.backend}: ${some(those.map(({proxy}) => proxy))}`);
  reply('', '');
  $('dialog').showModal();
}

/** Show the result; unless it is good, the request can be repeated. */
function reply(level, text) {
  const good = level === 'good';
  $('answer').className = level;
  put($('answer'), text);
  $('submit').hidden = good;
  $('token').hidden = good || token !== '';
  $('token').lastElementChild.required = !$('token').hidden;
  put($('cancel'), good ? 'Close' : 'Cancel');
  if (good) $('cancel').focus();
}

async function send({state, everywhere, token: typed}) {
  const {path, proxy} = request;
  const body = {...request.body, ...(request.body?.state && {state}), ...(proxy && !everywhere && {proxy})};
  token = typed.trim() || token;
  $('submit').disabled = true;
  try {
    const headers = {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'};
    const answer = await fetch(`/api/v1/${path}`, {method: 'POST', headers, body: JSON.stringify(body)});
    const {results, error} = await answer.json();
    if (answer.status === 401) token = '';
    reply(answer.ok ? 'good' : 'problem', results ? inWords(results) : `Nothing was done: ${error}.`);
  } catch (error) {
    reply('problem', `Unknown whether it was done: dynsrv did not answer (${error.message}).`);
  }
  $('submit').disabled = false;
}

function inWords(results) {
  const verdicts = {refused: 'refused', unknown: 'unknown whether it was done', error: 'not done'};
  const done = results.filter(({outcome}) => outcome === 'done').map(placeOf);
  const others = results.filter(({outcome}) => outcome !== 'done');
  const lines = others.map((one) => `${placeOf(one)}: ${verdicts[one.outcome]}: ${one.detail}`);
  return [...lines, ...(done.length ? [`Done: ${some(done)}.`] : [])].join('\n');
}

// ---- events of the page, and the start

document.addEventListener('click', ({target}) => {
  const button = target.closest('button[data-do]');
  if (!button) return;
  const backend = shown.get(button.closest('.backend')) ?? {}, server = shown.get(button.closest('tr'));
  if (button.dataset.do !== 'unfold') return ask(QUESTIONS[button.dataset.do](backend, server?.name));
  if (!unfolded.delete(backend.key)) unfolded.add(backend.key);
  soon();
});
$('dialog').addEventListener('submit', (event) => {
  event.preventDefault();
  send(Object.fromEntries(new FormData(event.target)));
});
$('cancel').addEventListener('click', () => $('dialog').close());
$('filter').addEventListener('input', soon);
$('wrong-only').addEventListener('change', soon);
put($('zone'), Intl.DateTimeFormat().resolvedOptions().timeZone);

// page.css turns the parts of tables into grids, so that some screen readers do not recognise them
const ROLES = {
  table: 'table', thead: 'rowgroup', tbody: 'rowgroup', tr: 'row', td: 'cell', '[scope=col]': 'columnheader',
  '[scope=row]': 'rowheader',
};
for (const root of [document, ...[...document.querySelectorAll('template')].map(({content}) => content)]) {
  for (const [selector, role] of Object.entries(ROLES)) {
    for (const one of root.querySelectorAll(selector)) one.setAttribute('role', role);
  }
}

subscribe();
heartbeat();

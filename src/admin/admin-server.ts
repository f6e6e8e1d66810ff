/**
 * The second port: liveness, readiness, metrics and purge. It listens on the loopback interface unless told otherwise; what changes
 * something needs the token when one is configured. What it does is handed to it as functions; it knows no device and no configuration.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { listeningFd } from '../base/listening-fd.ts';
import type { Logger } from '../base/log.ts';
import { isSameSecret } from '../base/same-secret.ts';
import type { NamedPurge } from '../cache/named-purge.ts';
import type { PurgeReport } from '../fill/purger.ts';

/** Where the admin port is: an address, or a descriptor of a socket that listens already. */
export type AdminPlace = { readonly host: string; readonly port: number } | { readonly fd: number };

/** What the admin port can ask of the program. */
export interface AdminActions {
  /** The metrics page and its media type. */
  readonly metrics: () => Promise<{ readonly text: string; readonly type: string }>;
  /** Facts for /readyz; `isReady` decides between 200 and 503. */
  readonly readiness: () => { readonly isReady: boolean; readonly detail: Readonly<Record<string, unknown>> };
  /** Forgets for good, or makes stale. @throws EdgeError REQUEST_INVALID, STORE_UNAVAILABLE */
  readonly purge: (named: NamedPurge, isSoft: boolean) => Promise<PurgeReport>;
  /** The last purges, the newest first. */
  readonly purges: () => readonly PurgeReport[];
  /** The purge of that number as it is now, if it is one of the last. */
  readonly findPurge: (id: number) => PurgeReport | undefined;
  /** The devices of the cache, with state, faults and usage. */
  readonly devices: () => readonly object[];
  /** What the places of origins have shown that they can and cannot do. */
  readonly origins: () => readonly object[];
  /** The upstream groups, with the state of each node. */
  readonly upstreams: () => readonly object[];
  /** Loads the configuration again. @throws EdgeError STORE_UNAVAILABLE where there is no file */
  readonly reload: () => Promise<{ readonly outcome: string }>;
  /** The lowest level that is logged, now and by the configuration. */
  readonly logLevel: () => { readonly level: string; readonly configured: string };
  /** Logs from another level on, until the restart. @throws EdgeError REQUEST_INVALID for a word that is no level */
  readonly setLogLevel: (level: string) => void;
  /** Tells balancers and clients to go elsewhere, or that they may come again. @throws EdgeError STORE_UNAVAILABLE where the program is stopping */
  readonly setDraining: (isDraining: boolean) => { readonly draining: boolean };
  /** What the program is doing. */
  readonly state: () => Readonly<Record<string, unknown>>;
  /** Tries a device that is not online, now. @throws EdgeError REQUEST_INVALID, DEVICE_*, FORMAT_* */
  readonly attachDevice: (path: string) => Promise<object>;
}

/** Dependencies and wishes. */
export interface AdminOptions {
  readonly actions: AdminActions;
  readonly logger: Logger;
  /** Bearer token, as of now, for everything but /healthz and /readyz; undefined: none is asked for. */
  readonly token: () => string | undefined;
}

const NAME_IT = 'Name what to purge: POST /purge?url=URL, ?prefix=PREFIX, ?tag=TAG, ?host=HOST or ?everything=1';

interface AdminAnswer {
  readonly status: number;
  readonly text: string;
  readonly type?: string;
}

/** The admin port's server. */
export class AdminServer {
  readonly #server: Server;
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#server = createServer({ maxHeaderSize: 16 * 1024, headersTimeout: 10_000, keepAliveTimeout: 5000 }, (request, response) => {
      void this.#handle(request, response);
    });
  }

  /** The listening socket's descriptor, for a process that goes on listening on it. */
  get fd(): number | undefined {
    return listeningFd(this.#server);
  }

  /** Begins to accept; errors are node's own. */
  listen(place: AdminPlace): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(place, () => {
        const address = this.#server.address();
        if (address === null || typeof address === 'string') reject(new EdgeError('LISTEN_FAILED'));
        else resolve(address);
      });
    });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Nothing here takes content; draining it keeps the connection usable.
    request.resume();
    let answer: AdminAnswer;
    try {
      answer = await this.#answer(request);
    } catch (cause) {
      const error = toEdgeError(cause);
      if (error.code === 'INTERNAL') this.#options.logger.error({ err: error }, 'admin request failed inside the program');
      answer = json(error.httpStatus, { error: error.code, message: error.message });
    }
    response.writeHead(answer.status, {
      'content-type': answer.type ?? 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(answer.text),
      'cache-control': 'no-store',
    });
    response.end(request.method === 'HEAD' ? undefined : answer.text);
  }

  async #answer(request: IncomingMessage): Promise<AdminAnswer> {
    const { actions } = this.#options;
    const url = parseUrl(request.url);
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (url.pathname === '/healthz') return isRead ? json(200, { status: 'ok' }) : notAllowed('GET');
    if (url.pathname === '/readyz') {
      if (!isRead) return notAllowed('GET');
      const { isReady, detail } = actions.readiness();
      return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', ...detail });
    }
    if (!this.#isAuthorized(request))
      return json(401, { error: 'UNAUTHORIZED', message: 'Send the configured admin.token as a Bearer token' });
    if (url.pathname === '/metrics') {
      if (!isRead) return notAllowed('GET');
      return { status: 200, ...(await actions.metrics()) };
    }
    if (url.pathname === '/devices') return isRead ? json(200, { devices: actions.devices() }) : notAllowed('GET');
    if (url.pathname === '/origins') return isRead ? json(200, { origins: actions.origins() }) : notAllowed('GET');
    if (url.pathname === '/upstreams') return isRead ? json(200, { upstreams: actions.upstreams() }) : notAllowed('GET');
    if (url.pathname === '/state') return isRead ? json(200, actions.state()) : notAllowed('GET');
    if (url.pathname === '/drain' || url.pathname === '/undrain') {
      if (request.method !== 'POST') return notAllowed('POST');
      return json(200, actions.setDraining(url.pathname === '/drain'));
    }
    if (url.pathname === '/log-level') return this.#answerLogLevel(request.method, url.searchParams);
    if (url.pathname === '/reload') {
      if (request.method !== 'POST') return notAllowed('POST');
      const report = await actions.reload();
      return json(report.outcome === 'applied' ? 200 : 409, report);
    }
    if (url.pathname === '/devices/attach') {
      if (request.method !== 'POST') return notAllowed('POST');
      return json(200, { device: await actions.attachDevice(devicePath(url.searchParams)) });
    }
    if (url.pathname === '/purge') {
      if (request.method !== 'POST') return notAllowed('POST');
      const { named, isSoft } = purgeOf(url.search);
      return json(200, { ...(await actions.purge(named, isSoft)) });
    }
    if (url.pathname === '/purges') return isRead ? this.#answerPurges(url.searchParams) : notAllowed('GET');
    return json(404, {
      error: 'NOT_FOUND',
      message:
        'There are /healthz, /readyz, /metrics, /devices, /origins, /upstreams, /state, /log-level, POST /log-level?level=LEVEL, POST /drain, POST /undrain, POST /reload, POST /devices/attach?path=PATH and POST /purge?url=URL, ?prefix=PREFIX, ?tag=TAG, ?host=HOST, ?everything=1, and GET /purges?id=NUMBER',
    });
  }

  #answerLogLevel(method: string | undefined, search: URLSearchParams): AdminAnswer {
    const { actions } = this.#options;
    if (method !== 'POST') return method === 'GET' || method === 'HEAD' ? json(200, actions.logLevel()) : notAllowed('GET or POST');
    const [level, ...others] = search.getAll('level');
    if (level === undefined || others.length > 0) throw new EdgeError('REQUEST_INVALID', 'Name the level: POST /log-level?level=debug');
    actions.setLogLevel(level);
    return json(200, actions.logLevel());
  }

  #answerPurges(search: URLSearchParams): AdminAnswer {
    const id = search.get('id');
    if (id === null) return json(200, { purges: this.#options.actions.purges() });
    if (!/^\d{1,15}$/.test(id)) throw new EdgeError('REQUEST_INVALID', 'Name the purge by its number: GET /purges?id=NUMBER');
    const report = this.#options.actions.findPurge(Number(id));
    return report === undefined
      ? json(404, { error: 'NOT_FOUND', message: `Purge ${id} is not one of the last of this process` })
      : json(200, { ...report });
  }

  #isAuthorized(request: IncomingMessage): boolean {
    const token = this.#options.token();
    if (token === undefined) return true;
    return isSameSecret(request.headers.authorization ?? '', `Bearer ${token}`);
  }
}

function parseUrl(target: string | undefined): URL {
  const url = URL.parse(target ?? '/', 'http://admin.invalid');
  if (url === null) throw new EdgeError('REQUEST_INVALID');
  return url;
}

/**
 * What to purge: `url`, `prefix`, `tag` or `everything=1`, and `soft=1` before it. A plus stays a plus: it is common in names of packages, and a
 * space cannot stand in a URL. A purge of something else than was meant would be reported as done, so what is ambiguous is refused.
 */
function purgeOf(search: string): { readonly named: NamedPurge; readonly isSoft: boolean } {
  const parameters = [...new URLSearchParams(search.replaceAll('+', '%2B'))];
  const isSoft = parameters[0]?.[0] === 'soft' && parameters[0][1] === '1';
  const [target, ...others] = isSoft ? parameters.slice(1) : parameters;
  if (target === undefined) throw new EdgeError('REQUEST_INVALID', NAME_IT);
  if (others.length > 0)
    throw new EdgeError('REQUEST_INVALID', 'Write & as %26 in what to purge, and soft=1 before it; one purge a request');
  const [kind, value] = target;
  if (kind === 'url') return { named: { kind, url: value }, isSoft };
  if (kind === 'prefix') return { named: { kind, prefix: value }, isSoft };
  if (kind === 'tag') return { named: { kind, tag: value }, isSoft };
  if (kind === 'host') return { named: { kind, host: value }, isSoft };
  if (kind === 'everything' && value === '1') return { named: { kind }, isSoft };
  throw new EdgeError('REQUEST_INVALID', NAME_IT);
}

/** The device to attach, as the configuration names it. */
function devicePath(search: URLSearchParams): string {
  const [path, ...others] = search.getAll('path');
  if (path === undefined || path === '' || others.length > 0)
    throw new EdgeError('REQUEST_INVALID', 'Name the device to attach: POST /devices/attach?path=PATH');
  return path;
}

function json(status: number, body: Readonly<Record<string, unknown>>): AdminAnswer {
  return { status, text: `${JSON.stringify(body)}\n` };
}

function notAllowed(method: string): AdminAnswer {
  return json(405, { error: 'METHOD_UNSUPPORTED', message: `Use ${method} here` });
}

/**
 * What commands ask of a running server through its admin port: the options that say where it is, one question at a time, and what is said when nobody
 * answers, or somebody else. Used by purge, reload, drain, log-level and state.
 */
import type { Command } from 'commander';
import { EdgeError, systemErrorCode } from '../src/base/errors.ts';
import { MIB } from '../src/base/units.ts';
import type { CommandIo } from './command-io.ts';
import { parseServerAddress, ServerClient } from './server-client.ts';

/** Where the server is. */
export interface AdminOptions {
  readonly admin: string;
  readonly token?: string;
  readonly json?: true;
}

/** An answer of the admin port: JSON, always. */
export interface AdminAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The variable that has the token. */
export const TOKEN_VARIABLE = 'RAWSLICE_ADMIN__TOKEN';
const ANSWER_BYTES_MAX = MIB;

/** Adds `--admin`, `--token` and `--json` to a command. */
export function addAdminOptions(command: Command): Command {
  return command
    .option('--admin <address>', 'admin port of the server (its option admin.listen)', 'http://127.0.0.1:8081')
    .option('--token <token>', `the server's admin.token; better in the variable ${TOKEN_VARIABLE}, since others can see command lines`)
    .option('--json', 'print the result as JSON');
}

/** Questions to one server. */
export class AdminClient {
  readonly #client: ServerClient;
  readonly #token: string | undefined;

  /** @throws EdgeError USAGE for an address that is none */
  constructor(io: CommandIo, options: AdminOptions) {
    this.#client = new ServerClient({ base: parseServerAddress(options.admin, '--admin'), clock: io.clock, connectionsMax: 1 });
    this.#token = options.token ?? io.environment[TOKEN_VARIABLE];
  }

  /** @throws EdgeError ADMIN_UNREACHABLE when nobody answers, or nobody that is an admin port */
  async ask(method: 'GET' | 'POST', path: string): Promise<AdminAnswer> {
    const headers = { 'content-length': '0', ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }) };
    let answer: { readonly status: number; readonly text: string };
    try {
      answer = await this.#send(method, path, headers);
    } catch (cause) {
      const errno = systemErrorCode(cause) ?? (cause instanceof Error ? cause.message : String(cause));
      const advice = 'start the server (tools/rawslice serve), or name its admin port: --admin http://HOST:PORT';
      throw new EdgeError('ADMIN_UNREACHABLE', `No server answers on ${this.#client.base.origin} (${errno}); ${advice}`, { cause });
    }
    const { status, text } = answer;
    const body = parseAnswer(text);
    if (body === undefined || (status >= 400 && typeof body.message !== 'string' && typeof body.outcome !== 'string')) {
      const message = `${this.#client.base.origin} answers ${status}, but not as the admin port of rawslice does; is it another port, such as listen?`;
      throw new EdgeError('ADMIN_UNREACHABLE', message, { context: { status } });
    }
    if (status !== 401) return { status, body };
    const advice =
      this.#token === undefined ? `set ${TOKEN_VARIABLE} to the server's admin.token` : `the token is not the server's admin.token`;
    return { status, body: { error: 'UNAUTHORIZED', message: `The server wants a token; ${advice}` } };
  }

  close(): void {
    this.#client.close();
  }

  async #send(method: 'GET' | 'POST', path: string, headers: Readonly<Record<string, string>>): Promise<{ status: number; text: string }> {
    const response = await this.#client.send({ method, path, headers });
    const pieces: Buffer[] = [];
    let lengthBytes = 0;
    for await (const piece of this.#client.readBody(response)) {
      lengthBytes += piece.length;
      if (lengthBytes > ANSWER_BYTES_MAX) break;
      pieces.push(piece);
    }
    return { status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() };
  }
}

/**
 * Asks one question, prints the answer, and leaves the exit code behind.
 *
 * @param describe lines for people; of an answer with a status of 400 or more the server's own words are shown
 */
export async function askServer(
  io: CommandIo,
  options: AdminOptions,
  question: {
    readonly method: 'GET' | 'POST';
    readonly path: string;
    readonly describe: (answer: AdminAnswer['body']) => readonly string[];
  },
): Promise<void> {
  const client = new AdminClient(io, options);
  try {
    const { status, body } = await client.ask(question.method, question.path);
    if (status >= 400) io.exitCode = 1;
    if (options.json === true) io.terminal.printJson(body);
    else if (typeof body.message === 'string') io.terminal.complain(`rawslice: ${body.message}`);
    else for (const line of question.describe(body)) io.terminal.print(line);
  } finally {
    client.close();
  }
}

function parseAnswer(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    // Not JSON, so not our admin port; the caller says so.
    return undefined;
  }
}

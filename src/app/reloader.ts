/**
 * Reloads the configuration while the program runs: reads it again, compares, hands it to whoever changes what is served, and remembers how that went. What is not
 * valid changes nothing. One reload at a time; those that are asked for meanwhile are one more after it. Used by edge.ts.
 */
import type { Clock } from '../base/clock.ts';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { listEffectiveOptions } from '../config/effective-options.ts';
import type { LoadResult } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import { formatSize } from '../config/size.ts';
import { MODULES } from './module-catalogue.ts';
import { RELOAD_METRICS } from './reload-metrics.ts';

/** Why a reload was begun. */
export type ReloadCause = 'signal' | 'file' | 'admin';

/** How a reload went. */
export interface ReloadReport {
  readonly outcome: 'applied' | 'invalid' | 'failed';
  readonly cause: ReloadCause;
  /** ISO 8601. */
  readonly at: string;
  /** Dotted keys whose value is another one now, or would be. */
  readonly changed: readonly string[];
  /** Those of them that hold from the next start. */
  readonly needsRestart: readonly string[];
  /** Why nothing has changed. */
  readonly problems: readonly string[];
}

/** What a reloader works with. */
export interface ReloaderOptions {
  /** Reads the configuration as it was read at the start. */
  readonly load: () => LoadResult;
  /** What is served now. */
  readonly current: () => EdgeConfig;
  /** Serves another configuration. @throws EdgeError when it cannot; then nothing has changed */
  readonly apply: (config: EdgeConfig) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Options that are laid into what is built at the start. */
const FIXED_KEYS: ReadonlySet<string> = new Set(['memory.arena', 'admin.listen', 'limits.headerBytes', 'reload.interval']);

/** The reloads of one program. */
export class Reloader {
  readonly metrics = new MetricSet(RELOAD_METRICS);
  readonly #options: ReloaderOptions;
  #last: ReloadReport | undefined;
  #running: Promise<ReloadReport> | undefined;
  #next: Promise<ReloadReport> | undefined;
  #isClosed = false;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.metrics.setGauge('isCurrent', () =>
      Number(this.#last === undefined || (this.#last.outcome === 'applied' && this.#last.needsRestart.length === 0)),
    );
  }

  /** How the last reload went; undefined before the first. */
  get last(): ReloadReport | undefined {
    return this.#last;
  }

  /** Reloads; what is asked for while another one runs is done after it, once. Never rejects. */
  reload(cause: ReloadCause): Promise<ReloadReport> {
    if (this.#running === undefined) return this.#begin(cause);
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#begin(cause);
    });
    return this.#next;
  }

  /** Waits for the reload in progress; another one is refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  #begin(cause: ReloadCause): Promise<ReloadReport> {
    this.#running = this.#run(cause).then((report) => {
      this.#running = undefined;
      this.#last = report;
      this.metrics.add('reloads', 1, report.outcome);
      this.#tell(report);
      return report;
    });
    return this.#running;
  }

  async #run(cause: ReloadCause): Promise<ReloadReport> {
    const { load, current, apply, clock } = this.#options;
    const base = { cause, at: new Date(clock.wallMs()).toISOString(), changed: [], needsRestart: [] };
    if (this.#isClosed) return { ...base, outcome: 'failed', problems: ['the program is stopping'] };
    try {
      const result = load();
      if (result.kind === 'invalid') return { ...base, outcome: 'invalid', problems: result.problems.map(formatProblem) };
      const now = current();
      const changed = findChanged(now, result.config);
      const fixed = changed.filter((key) => FIXED_KEYS.has(key) || key.startsWith('device.'));
      // Code is loaded once in the life of a process.
      const outdated = result.config.middlewares.filter(({ use }) => MODULES.hasChanged(use)).map(({ name }) => `middlewares.${name}.use`);
      const needsRestart = [...fixed, ...outdated];
      await apply(withFixed(result.config, now));
      return { ...base, outcome: 'applied', changed, needsRestart, problems: [] };
    } catch (cause) {
      const error = toEdgeError(cause);
      return { ...base, outcome: error.code === 'CONFIG_INVALID' ? 'invalid' : 'failed', problems: [error.message] };
    }
  }

  #tell({ outcome, cause, changed, needsRestart, problems }: ReloadReport): void {
    const { logger } = this.#options;
    if (outcome !== 'applied') logger.error({ cause, problems }, 'did not reload the configuration; nothing has changed');
    else if (needsRestart.length > 0)
      logger.warn({ cause, changed, needsRestart }, 'reloaded the configuration; a part of it needs a restart');
    else logger.info({ cause, changed }, 'reloaded the configuration');
  }
}

/** The new configuration with what cannot change before a restart. @throws EdgeError CONFIG_INVALID when the rest does not fit it */
function withFixed(next: EdgeConfig, now: EdgeConfig): EdgeConfig {
  const { arenaBytes } = now.memory;
  const large = next.routes.find(({ sliceSizeBytes }) => 8 * sliceSizeBytes > arenaBytes);
  if (large !== undefined) {
    const message = `Slices of ${formatSize(large.sliceSizeBytes)} (route ${large.name}) need another memory.arena than the ${formatSize(arenaBytes)} of now, and so a restart`;
    throw new EdgeError('CONFIG_INVALID', message);
  }
  return {
    ...next,
    device: now.device,
    memory: now.memory,
    admin: { ...next.admin, listen: now.admin.listen },
    limits: { ...next.limits, headerBytesMax: now.limits.headerBytesMax },
    reload: now.reload,
  };
}

function findChanged(now: EdgeConfig, next: EdgeConfig): readonly string[] {
  const valuesOf = (config: EdgeConfig): ReadonlyMap<string, string | undefined> =>
    new Map(listEffectiveOptions(config, new Map()).map(({ key, value }) => [key, value]));
  const [before, after] = [valuesOf(now), valuesOf(next)];
  return [...new Set([...before.keys(), ...after.keys()])].filter((key) => before.get(key) !== after.get(key));
}

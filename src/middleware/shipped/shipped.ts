/** The middlewares that come with the program, by the word that `use` names them with. */
import type { OptionTable } from '../../base/module-options.ts';
import type { MiddlewareModule } from '../middleware.ts';
import { ACCESS } from './access.ts';
import { BANDWIDTH } from './bandwidth.ts';
import { BASIC } from './basic.ts';
import { BEARER } from './bearer.ts';
import { CORS } from './cors.ts';
import { HEADERS } from './headers.ts';
import { JWT } from './jwt.ts';
import { RATE_LIMIT } from './rate-limit.ts';
import { REDIRECT } from './redirect.ts';
import { SPLIT } from './split.ts';

/** In the order of the documentation. */
export const SHIPPED: ReadonlyMap<string, MiddlewareModule<OptionTable>> = new Map<string, MiddlewareModule<OptionTable>>([
  ['headers', HEADERS],
  ['access', ACCESS],
  ['cors', CORS],
  ['redirect', REDIRECT],
  ['basic', BASIC],
  ['bearer', BEARER],
  ['jwt', JWT],
  ['rateLimit', RATE_LIMIT],
  ['bandwidth', BANDWIDTH],
  ['split', SPLIT],
]);

/** Their option tables. */
export const SHIPPED_OPTIONS: ReadonlyMap<string, OptionTable> = new Map([...SHIPPED].map(([word, { options }]) => [word, options]));

/** The middlewares that come with the program, by the word that `use` names them with. */
import type { OptionTable } from '../../base/module-options.ts';
import type { MiddlewareModule } from '../middleware.ts';
import { ACCESS } from './access.ts';
import { CORS } from './cors.ts';
import { HEADERS } from './headers.ts';
import { REDIRECT } from './redirect.ts';

/** In the order of the documentation. */
export const SHIPPED: ReadonlyMap<string, MiddlewareModule<OptionTable>> = new Map<string, MiddlewareModule<OptionTable>>([
  ['headers', HEADERS],
  ['access', ACCESS],
  ['cors', CORS],
  ['redirect', REDIRECT],
]);

/** Loads a configuration with the modules that there are: what every command and every reload calls. */
import { type LoadRequest, type LoadResult, loadConfig } from '../config/load.ts';
import { MODULES } from './module-catalogue.ts';

/** As loadConfig(), which names everything that is wrong. */
export function loadEdgeConfig(request: Omit<LoadRequest, 'modules'>): LoadResult {
  return loadConfig({ ...request, modules: MODULES });
}

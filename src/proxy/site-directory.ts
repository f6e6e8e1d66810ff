/** Which sites answer for what a purge names, over some services or all. A purge reaches every site that could, whatever the method: too much only costs time. */
import type { SiteDirectory } from '../cache/named-purge.ts';
import { matchesPath, type Router } from './router.ts';
import type { ServedRoute, Site } from './services.ts';

/** @param routers asked for at each purge */
export function siteDirectory(routers: () => Iterable<Router<ServedRoute>>): SiteDirectory {
  return {
    find({ host, path }) {
      const sites = new Map<string, Site>();
      for (const router of routers()) {
        for (const { match, site, alternatives } of host === undefined ? router.routes : router.candidates(host)) {
          if (path !== undefined && !matchesPath(match.path, path)) continue;
          for (const each of [site, ...[...alternatives.values()].map((other) => other.site)]) sites.set(each.name, each);
        }
      }
      return [...sites.values()];
    },
  };
}

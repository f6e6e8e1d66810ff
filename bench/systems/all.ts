/** Every system that can be compared, in the order of the tables. `direct` is none: it is the load straight on the origin. */
import { haproxy } from './haproxy.ts';
import { nginx } from './nginx.ts';
import { nginxSlice } from './nginx-slice.ts';
import { rawslice } from './rawslice.ts';
import { squid } from './squid.ts';
import { isFit, type SystemKind } from './system.ts';
import { trafficserver, trafficserverSlice } from './trafficserver.ts';
import { varnish } from './varnish.ts';

const direct: SystemKind = {
  name: 'direct',
  isPeer: false,
  whyAbsent: isFit,
  whyUnfit: isFit,
  start: ({ originPort }) => Promise.resolve({ name: 'direct', description: 'the origin itself', port: originPort, process: undefined }),
};

/** In the order of the tables. */
export const SYSTEM_KINDS: readonly SystemKind[] = [
  rawslice,
  nginx,
  nginxSlice,
  varnish,
  trafficserver,
  trafficserverSlice,
  squid,
  haproxy,
  direct,
];

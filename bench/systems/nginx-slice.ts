/**
 * nginx with `slice 1m` and `proxy_cache`: how mirrors with large files are cached with it. Of eight settings of buffers from 8 x 4 KiB to
 * 16 x 64 KiB this one took the least CPU for a cold stream (2.5 s/GiB twice, the others 2.7 to 5.6; November 2026, noisy machine).
 */
import { startCache } from './nginx.ts';
import { whyNoNginx } from './nginx-process.ts';
import { isFit, type SystemKind } from './system.ts';

/** See the file's head. */
export const nginxSlice: SystemKind = {
  name: 'nginx-slice',
  isPeer: true,
  whyAbsent: whyNoNginx,
  whyUnfit: isFit,
  start: (place) => startCache(place, { name: 'nginx-slice', description: 'slice 1m, proxy_cache', location: SLICED }),
};

const SLICED = `
      slice 1m;
      proxy_cache_key $uri$is_args$args$slice_range;
      proxy_set_header Range $slice_range;
      proxy_cache_valid 206 1d;
      proxy_cache_lock on;
      proxy_buffer_size 8k;
      proxy_buffers 8 8k;
      proxy_busy_buffers_size 16k;`;

/** What is counted of reloads of the configuration. */
import type { MetricTable } from '../base/metrics.ts';

/** How a reload ended. */
export const RELOAD_OUTCOMES = ['applied', 'invalid', 'failed'] as const;

export const RELOAD_METRICS = {
  reloads: {
    kind: 'counter',
    name: 'rawslice_config_reloads_total',
    help: 'Reloads of the configuration: applied, not valid (nothing changed), or failed, as when an address cannot be had (nothing changed)',
    label: 'outcome',
    values: RELOAD_OUTCOMES,
  },
  isCurrent: {
    kind: 'gauge',
    name: 'rawslice_config_current',
    help: 'Whether what is served is what the file says (1), or its last reload was refused or something of it waits for a restart (0)',
  },
} as const satisfies MetricTable;

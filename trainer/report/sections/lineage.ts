import { bytes, duration, isNumber, sideWords } from '../format.ts';
import { html } from '../html.ts';
import type { Section } from '../parts.ts';
import type { ReportData } from '../report-data.ts';

export function lineage({
  name,
  set,
  split,
  validation,
  seed,
  seconds,
  madeOn = {},
  digest,
  settings = {},
  bytes: sizes,
}: Omit<ReportData, 'classes' | 'test' | 'gate'>): Section {
  const rows: [string, string | number | undefined][] = [
    ['Bundle', name],
    ['Recording set', set],
    ['Test', sideWords(split)],
    ['Validation', sideWords(validation)],
    [
      'Size of the bundle',
      isNumber(sizes?.bundle) ? `${bytes(sizes.bundle)}, with back-up network, adapters and known answers` : undefined,
    ],
    ['Seed', seed],
    ...Object.entries(settings).map(([key, value]): [string, string] => [key, String(value)]),
    ['Took', isNumber(seconds) ? duration(seconds) : undefined],
    ['Machine', madeOn.cpu],
    ['Node', madeOn.node],
    ['Date', madeOn.date],
    ['SHA-256', digest],
  ];
  return {
    id: 'lineage',
    title: 'Settings and lineage',
    body: html`<dl>${rows.filter(([, value]) => value !== undefined && value !== '').map(([key, value]) => html`<dt>${key}</dt><dd>${value}</dd>`)}</dl>`,
  };
}

import { renderPage } from './page.ts';
import type { ReportData } from './report-data.ts';
import { baselines } from './sections/baselines.ts';
import { classSection } from './sections/classes.ts';
import { dataSection } from './sections/data.ts';
import { funnel } from './sections/funnel.ts';
import { lineage } from './sections/lineage.ts';
import { reliability } from './sections/reliability.ts';
import { attacks, robustness } from './sections/robustness.ts';
import { training } from './sections/training.ts';
import { tiles, verdict } from './sections/verdict.ts';

const SECTIONS = [funnel, baselines, classSection, reliability, robustness, attacks, training, dataSection, lineage];

/** The report of a training, as a page that needs nothing but itself. The same data gives the same page. */
export function renderReport(data: ReportData): string {
  const { name, set, split, madeOn } = data;
  return renderPage({
    name,
    about: [`Trained on ${set}`, split, madeOn?.date].filter(Boolean).join(' · '),
    top: [verdict(data), tiles(data)],
    sections: SECTIONS.flatMap((make) => make(data) ?? []),
  });
}

import { breakable, html, type Markup } from './html.ts';
import type { Section } from './parts.ts';
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
import { STYLE } from './style.ts';

const SECTIONS = [funnel, baselines, classSection, reliability, robustness, attacks, training, dataSection, lineage];

/** Nothing is loaded and no script runs, even if some text should get through unescaped. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

const section = ({ id, title, body }: Section): Markup =>
  html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${body}</section>\n`;

/** A page that needs nothing but itself: no script, no network, no other file. The same data gives the same page. */
export function renderReport(data: ReportData): string {
  const sections = SECTIONS.flatMap((make) => make(data) ?? []);
  const { name, set, split, madeOn } = data;
  const about = [`Trained on ${set}`, split, madeOn?.date].filter(Boolean).join(' · ');
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${name} – Tremolo report</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${breakable(name)}</h1><p class="muted">${about}</p></header>
<main>
${verdict(data)}
${tiles(data)}
<nav aria-label="Contents"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
${sections.map(section)}</main>
<footer>Made by tremolo train. This page loads nothing and runs no script.</footer>
</body>
</html>
`.text;
}

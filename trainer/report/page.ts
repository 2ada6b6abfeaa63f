import { breakable, html, type Markup } from './html.ts';
import type { Section } from './parts.ts';
import { STYLE } from './style.ts';

/** Nothing is loaded and no script runs, even if some text should get through unescaped. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

export interface Page {
  /** Of the bundle. */
  readonly name: string;
  /** What it was made from, in a line. */
  readonly about: string;
  /** What is asked for first: verdict and key figures. */
  readonly top: readonly Markup[];
  readonly sections: readonly Section[];
}

const section = ({ id, title, body }: Section): Markup =>
  html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${body}</section>\n`;

/** A page that needs nothing but itself: no script, no network, no other file. The same data gives the same page. */
export function renderPage({ name, about, top, sections }: Page): string {
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
${top.map((part) => html`${part}\n`)}<nav aria-label="Contents"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
${sections.map(section)}</main>
<footer>Made by tremolo train. This page loads nothing and runs no script.</footer>
</body>
</html>
`.text;
}

import { breakable, type Content, html, type Markup } from './html.ts';
import type { Section } from './parts.ts';
import { STYLE } from './style.ts';

/** Nothing is loaded and no script runs, even if some text should get through unescaped. */
const NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** What a document holds; no part of it names another file. */
export interface Document {
  readonly title: string;
  readonly heading: Content;
  readonly about: string;
  /** Content-Security-Policy. */
  readonly policy?: string;
  /** Beside the house's own. */
  readonly style?: Content;
  readonly main: Content;
  readonly footer: string;
  readonly scripts?: Content;
}

export interface Page {
  /** Of the bundle. */
  readonly name: string;
  /** What it was made from, in a line. */
  readonly about: string;
  /** What is asked for first: verdict and key figures. */
  readonly top: readonly Markup[];
  readonly sections: readonly Section[];
}

export const renderSection = ({ id, title, body }: Section): Markup =>
  html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${body}</section>\n`;

/** A document that needs nothing but itself: no network, no other file. The same data gives the same document. */
export function renderDocument({ title, heading, about, policy = NO_SCRIPT, style, main, footer, scripts }: Document): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${STYLE}${style}</style>
</head>
<body>
<header><h1>${heading}</h1><p class="muted">${about}</p></header>
<main>
${main}</main>
<footer>${footer}</footer>
${scripts}</body>
</html>
`.text;
}

/** The report of a bundle, without a script. */
export function renderPage({ name, about, top, sections }: Page): string {
  return renderDocument({
    title: `${name} – Tremolo report`,
    heading: breakable(name),
    about,
    main: html`${top.map((part) => html`${part}\n`)}<nav aria-label="Contents"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
${sections.map(renderSection)}`,
    footer: 'Made by tremolo train. This page loads nothing and runs no script.',
  });
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text that is HTML already. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Content = string | number | Markup | undefined | false | readonly Content[];

function render(content: Content): string {
  if (content instanceof Markup) return content.text;
  if (content === undefined || content === false) return '';
  if (typeof content === 'object') return content.map(render).join('');
  return String(content).replace(/[&<>"']/g, (letter) => ENTITIES[letter]);
}

/** Class names come from users' folders: whatever is put into the template is escaped unless it is {@link Markup}. Quote attributes. */
export function html(strings: TemplateStringsArray, ...contents: Content[]): Markup {
  return new Markup(strings.reduce((text, string, index) => text + render(contents[index - 1]) + string));
}

/** A name that may be broken after its `_`, `-`, `.` and `/`: names of folders have no spaces. */
export const breakable = (name: string): Markup => new Markup(render(name).replace(/[_./-]+(?=\w)/g, '$&<wbr>'));

import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
// No sandbox: it refuses to start for root. The rest keeps Chromium from calling home, which would count as a request of the page.
const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--enable-logging=stderr',
];

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Path of a Chromium on this machine. */
export const chromium = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((folder) => NAMES.map((name) => join(folder, name)))
  .find(isProgram);

export interface Opened {
  /** The page as it stood after loading. */
  readonly dom: string;
  /** What the page, or the browser about it, wrote to the console. */
  readonly console: readonly string[];
  readonly screenshot: Buffer;
}

/** Opens a page from a file, as a person does. */
export async function open(page: string, width = 1280): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), 'report-'));
  try {
    const [file, picture] = [join(folder, 'report.html'), join(folder, 'report.png')];
    await writeFile(file, page);
    const flags = [...FLAGS, `--user-data-dir=${join(folder, 'profile')}`, `--window-size=${width},900`];
    const { stdout, stderr } = await promisify(execFile)(
      chromium!,
      [...flags, '--dump-dom', `--screenshot=${picture}`, pathToFileURL(file).href],
      { maxBuffer: 1e8, timeout: 50_000 },
    );
    return { dom: stdout, console: stderr.split('\n').filter((line) => line.includes(':CONSOLE')), screenshot: await readFile(picture) };
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const attribute = (text: string) => text.replace(/&/g, '&amp;').replace(/"/g, '&quot;');

export interface Measured {
  readonly width: number;
  /** How much wider than the window the page is. */
  readonly overflow: number;
  /** Everything that was asked for beside the page. */
  readonly requests: readonly string[];
  /** Ids of sections and whether they can be seen. */
  readonly sections: Readonly<Record<string, boolean>>;
  readonly title: string;
  readonly scripts: number;
}

/** Lays pages out in frames of given widths and measures them from outside: the report itself runs no script. */
export async function measure(frames: readonly { readonly page: string; readonly width: number }[]): Promise<Measured[]> {
  const { dom } = await open(`<!doctype html><body>${frames
    .map(({ page, width }) => `<iframe style="border:0;width:${width}px;height:800px" srcdoc="${attribute(page)}"></iframe>`)
    .join('')}<script>addEventListener('load', () => {
    const measured = [...document.querySelectorAll('iframe')].map(({ contentDocument: page, contentWindow: frame }) => ({
      width: frame.innerWidth,
      overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      requests: frame.performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => !name.startsWith('data:')),
      sections: Object.fromEntries([...page.querySelectorAll('section')].map((section) => [section.id, section.checkVisibility() && section.offsetHeight > 40])),
      title: page.title,
      scripts: page.scripts.length,
    }));
    document.body.textContent = 'MEASURED' + JSON.stringify(measured) + 'MEASURED';
  });</script></body>`);
  const text = dom.split('MEASURED').at(-2) ?? '';
  return JSON.parse(text.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&')) as Measured[];
}

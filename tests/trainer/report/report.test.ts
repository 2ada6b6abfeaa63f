import { describe, expect, it } from 'vitest';
import { percent, points, signedPoints } from '../../../trainer/report/format.ts';
import { renderReport } from '../../../trainer/report/report.ts';
import type { ReportData } from '../../../trainer/report/report-data.ts';
import { chromium, measure, open } from './browser.ts';
import { BEARINGS, EXTREME, MOTOR } from './samples.ts';

/** What a reader sees of a page, or of one of its sections. */
function textOf(page: string, id?: string): string {
  const body =
    id === undefined ? page.slice(page.indexOf('<body>')) : (page.match(new RegExp(`<section id="${id}".*?</section>`, 's'))?.[0] ?? '');
  return body
    .replace(/<wbr>/g, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/[\s\u00a0\u202f]+/g, ' ')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&');
}

const sectionsOf = (page: string) => [...page.matchAll(/<section id="([^"]*)"/g)].map(([, id]) => id);

/** Just what has no default. */
const BARE: ReportData = {
  name: 'bare',
  set: 'plant',
  classes: ['normal', 'fault'],
  test: { windows: 10, accuracy: 0.9, balancedAccuracy: 0.9, macroF1: 0.9 },
  gate: { passed: true, reasons: [] },
};

describe('the verdict', () => {
  it('says in one sentence whether the gate is passed, how far the best baseline is, what it takes and how fast it is', () => {
    expect(textOf(renderReport(BEARINGS), 'verdict')).toContain(
      'The gate is passed: the int8 student decides 98.9 % of 5 592 test windows right, 0.6 points above the best baseline (MiniRocket, 98.3 %); it takes 118 kB and needs 0.38 ms a window.',
    );
  });

  it('names one reason in the sentence and lists several', () => {
    const one = textOf(renderReport(MOTOR), 'verdict');
    expect(one).toContain('not passed (the ridge is 1.2 points better on the test windows);');
    expect(one).toContain('1.2 points below the best baseline');
    const page = renderReport(EXTREME);
    expect(textOf(page, 'verdict')).toContain('not passed for the 3 reasons below;');
    for (const reason of EXTREME.gate.reasons) expect(textOf(page, 'verdict')).toContain(reason);
  });

  it('compares by what the gate compares by', () => {
    expect(textOf(renderReport(EXTREME), 'verdict')).toContain('balanced accuracy of 71.5 %');
  });
});

describe('the funnel', () => {
  const page = renderReport(BEARINGS);

  it('goes from teacher to int8 with ratios to the teacher', () => {
    const funnel = textOf(page, 'funnel');
    expect(funnel).toContain('int8 against teacher: 93.3 % fewer parameters, 97.6 % fewer bytes, 17 times as fast, accuracy −0.2 points.');
    expect(funnel).toMatch(/Teacher .* 4\.87 MB .* Student .* 432 kB .* Pruned .* 337 kB .* int8 .* 118 kB 1\/41 of teacher/);
  });

  it('leaves out a network that was taken back, and says so', () => {
    const stages = BEARINGS.stages?.map((stage) => (stage.network === 'pruned' ? { ...stage, status: 'taken back' as const } : stage));
    const funnel = textOf(renderReport({ ...BEARINGS, stages }), 'funnel');
    expect(funnel).not.toContain('Pruned');
    expect(funnel).toContain('Taken back, because it cost more than it was allowed to: prune, sparsity.');
  });

  it('has a row for every stage with its result', () => {
    for (const { name } of BEARINGS.stages!) expect(textOf(page, 'funnel')).toContain(name);
    expect(textOf(page, 'funnel')).toContain('clean cached');
  });
});

describe('the sections', () => {
  const page = renderReport(BEARINGS);

  it('are all there, each with its heading and a link to it', () => {
    const ids = sectionsOf(page);
    expect(ids).toEqual([
      'verdict',
      'funnel',
      'baselines',
      'classes',
      'confidence',
      'robustness',
      'attacks',
      'training',
      'data',
      'lineage',
    ]);
    for (const id of ids) expect(page).toContain(`<h2 id="${id}-title">`);
    for (const id of ids.slice(1)) expect(page).toContain(`href="#${id}"`);
  });

  it('show every cell of the confusion matrix and the commonest mistakes', () => {
    const matrix = page.match(/<div class="matrix.*?<\/table>/s)![0];
    const cells = [...matrix.matchAll(/<td[^>]*>([^<]*)<\/td>/g)].map(([, text]) => Number(text));
    expect(cells).toEqual(BEARINGS.confusion!.flat());
    expect(textOf(page, 'classes')).toContain('B007 taken for B014 : 7 windows, 1.5 % of the class');
  });

  it('sort the baselines with the student among them', () => {
    const names = [...page.match(/<section id="baselines".*?<\/section>/s)![0].matchAll(/<th scope="row">([^<]*)</g)].map(
      ([, name]) => name,
    );
    expect(names).toEqual(['int8 student', 'MiniRocket', 'Random forest', 'Ridge on the log spectrum']);
  });

  it('say the calibration error before and after', () => {
    expect(textOf(page, 'confidence')).toMatch(/before 1\.00 3\.1 % after 1\.62 0\.9 %/);
  });

  it('draw a line for every curve and give every picture words', () => {
    for (const name of ['Noise', 'Gain', 'Speed', 'Clipping', 'Channel loss']) expect(textOf(page, 'robustness')).toContain(name);
    const pictures = [...page.matchAll(/<svg class="chart"[^>]*>/g)].map(([tag]) => tag);
    expect(pictures).toHaveLength(1 + 5 + 1 + 6);
    for (const tag of pictures) expect(tag).toMatch(/role="img" aria-label="[^"]{20,}"/);
  });

  it('tell how to make the bundle again', () => {
    for (const text of ['Seed 1', 'load_hp=3', '9 min 43 s', 'Intel Xeon, 2 cores', '2026-11-22', BEARINGS.digest!])
      expect(textOf(page, 'lineage')).toContain(text);
  });
});

describe('a part that was not measured', () => {
  it('is left out, down to the bare verdict', () => {
    const page = renderReport(BARE);
    expect(sectionsOf(page)).toEqual(['verdict', 'lineage']);
    expect(textOf(page)).toContain('decides 90.0 % of 10 test windows right.');
  });

  it('can be any part', () => {
    for (const key of Object.keys(BEARINGS)) {
      if (Object.hasOwn(BARE, key)) continue;
      const page = renderReport({ ...BEARINGS, [key]: undefined });
      expect(textOf(page), key).not.toMatch(/undefined|NaN|Infinity|null/);
      expect(page, key).not.toMatch(/NaN|Infinity/);
    }
  });

  it('can be empty or no number', () => {
    const stages = BEARINGS.stages?.map(({ name, network, status }) => ({ name, network, status }));
    const hollow = { ...EXTREME, stages, robustness: [], attacks: [], curves: [{ name: 'teacher', points: [] }], data: [], baselines: {} };
    for (const page of [renderReport(hollow), renderReport(MOTOR)]) expect(page).not.toMatch(/undefined|NaN|Infinity/);
    expect(textOf(renderReport(MOTOR))).not.toContain('False alarms');
    expect(textOf(renderReport(MOTOR), 'data')).toContain('Nothing was left out.');
    expect(textOf(renderReport(EXTREME), 'classes')).toContain('not in the test');
  });
});

describe('text of users', () => {
  const evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>\'&';
  /** Every string of the data replaced, names of keys as well. */
  const poisoned = (value: unknown, key = ''): unknown => {
    if (typeof value === 'string') return ['status', 'network', 'kind', 'metric', 'stagesMeasuredOn'].includes(key) ? value : evil + value;
    if (Array.isArray(value)) return value.map((one) => poisoned(one));
    if (typeof value !== 'object' || value === null) return value;
    const free = key === 'baselines' || key === 'settings';
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [free ? evil + name : name, poisoned(one, name)]));
  };

  it('is escaped wherever it stands', () => {
    const page = renderReport(poisoned(BEARINGS) as ReportData);
    expect(page).not.toMatch(/<script|<img/);
    expect(page.split('&lt;script&gt;').length).toBeGreaterThan(80);
    expect(textOf(renderReport(EXTREME))).toContain('<script>document.title="stolen"</script>');
  });

  it('may be a name that objects have from birth', () => {
    const robustness = [{ kind: 'constructor', points: [{ label: 'x', level: 1, accuracy: 0.5 }] }];
    const page = textOf(renderReport({ ...BARE, robustness, baselines: { toString: BARE.test } }));
    expect(page).toContain('Constructor');
    expect(page).toContain('ToString');
  });
});

describe('numbers', () => {
  it.each([
    [0.9841, '98.4 %'],
    [1, '100.0 %'],
    [0.99999, '99.99 %'],
    [0.9996, '99.96 %'],
    [0, '0.0 %'],
    [0.0001, '< 0.1 %'],
    [Number.NaN, '–'],
  ])('%d reads %s', (share, text) => expect(percent(share).replaceAll('\u00a0', ' ')).toBe(text));

  it('of a distance keep their sign and their unit', () => {
    expect([points(-0.021), points(0.01), points(0.0004)].map((text) => text.replaceAll('\u00a0', ' '))).toEqual([
      '2.1 points',
      '1.0 point',
      '0.04 points',
    ]);
    expect([signedPoints(0.021), signedPoints(-0.021), signedPoints(1e-6)]).toEqual(['+2.1', '−2.1', '±0.0']);
  });
});

it('is the same for the same data, stays small, and refers to nothing outside itself', () => {
  const page = renderReport(EXTREME);
  expect(renderReport(EXTREME)).toBe(page);
  expect(Buffer.byteLength(page)).toBeLessThan(200_000);
  const references = [...page.matchAll(/\b(?:href|src|srcset|action|data|poster)="([^"]*)"/g)].map(([, target]) => target);
  expect(references.filter((target) => !target.startsWith('#'))).toEqual(['data:,']);
  expect(page).not.toMatch(/url\(|@import/);
});

describe('in a browser', () => {
  it('fits wide and narrow windows, asks for nothing, runs nothing and shows every part', async (context) => {
    if (!chromium) return context.skip('no chromium on this machine');
    const samples = [BEARINGS, MOTOR, EXTREME, BARE];
    const frames = samples.flatMap((data) => [1280, 390].map((width) => ({ page: renderReport(data), width, data })));
    // The last one shows that the measurement can fail.
    const broken = renderReport(BARE)
      .replace(/<meta http-equiv[^>]*>/, '')
      .replace('<main>', '<main><div style="width:3000px">wide</div><img src="http://127.0.0.1:8/x.png" alt="">');
    const measured = await measure([...frames, { page: broken, width: 1280 }]);
    frames.forEach(({ data, width }, index) => {
      const { sections, ...rest } = measured[index];
      expect(rest, `${data.name} at ${width}`).toEqual({
        width,
        overflow: 0,
        requests: [],
        title: `${data.name} – Tremolo report`,
        scripts: 0,
      });
      expect(Object.keys(sections)).toEqual(sectionsOf(frames[index].page));
      expect(Object.values(sections)).not.toContain(false);
    });
    const control = measured.at(-1)!;
    expect(control.overflow).toBeGreaterThan(1000);
    expect(control.requests).toHaveLength(1);
  });

  it('opens from a file without a word on the console', async (context) => {
    if (!chromium) return context.skip('no chromium on this machine');
    const opened = await open(renderReport(EXTREME));
    expect(opened.console).toEqual([]);
    expect(opened.dom).toContain('Settings and lineage');
    expect(opened.screenshot.subarray(1, 4).toString()).toBe('PNG');
    const noisy = await open(renderReport(BARE).replace('<main>', '<main><script>1</script><img src="http://127.0.0.1:8/x.png" alt="">'));
    expect(noisy.console.length).toBeGreaterThan(0);
  });
});

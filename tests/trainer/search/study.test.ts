import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../../trainer/refusal.ts';
import { categorical, logUniform, uniform } from '../../../trainer/search/space.ts';
import { type Job, Study, type StudyOptions } from '../../../trainer/search/study.ts';
import { branin } from './functions.ts';

const SPACE = { x: uniform(-5, 10), y: uniform(0, 15), rate: logUniform(1e-4, 1e-1), head: categorical('linear', 'cosine') };
const OPTIONS: StudyOptions = { trials: 14, seed: 7, goal: 'minimize', resource: { minResource: 5, maxResource: 80 } };

/** A score that more training brings nearer to its value; one corner of the space fails. */
function answer(study: Study<typeof SPACE>, job: Job<typeof SPACE>): void {
  const { x, y, rate } = job.settings;
  if (rate > 0.05) study.fail(job, 'the loss is NaN');
  else study.tell(job, branin(x, y) + 100 / job.resource);
}

function finish(study: Study<typeof SPACE>): Study<typeof SPACE> {
  for (let job = study.ask(); job; job = study.ask()) answer(study, job);
  study.close();
  return study;
}

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tremolo-search-'));
  file = join(folder, 'runs', 'search.jsonl');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('a study', () => {
  it('asks promotions and new trials, and knows the best at the most training', () => {
    const study = finish(new Study(SPACE, { ...OPTIONS, trials: 40 }));
    const trials = study.trials;
    expect(trials).toHaveLength(40);
    expect(new Set(trials.map(({ resource }) => resource))).toEqual(new Set([0, 5, 20, 80]));
    expect(trials.filter(({ state }) => state === 'failed').every(({ reason }) => reason === 'the loss is NaN')).toBe(true);
    const longest = trials.filter(({ resource, state }) => resource === 80 && state === 'scored');
    expect(study.best!.score).toBe(Math.min(...longest.map(({ score }) => score!)));
  });

  it('takes a higher score for the better one unless it is told otherwise', () => {
    const study = new Study({ x: uniform(0, 1) }, { trials: 30, seed: 1 });
    for (let job = study.ask(); job; job = study.ask()) study.tell(job, job.settings.x);
    expect(study.best!.score).toBe(Math.max(...study.trials.map(({ score }) => score!)));
    expect(study.best!.score).toBeGreaterThan(0.95);
  });

  it('asks no more while its last trials run, and goes on where an answer makes a promotion due', () => {
    const study = new Study({ x: uniform(0, 1) }, { trials: 2, seed: 1, resource: { minResource: 1, maxResource: 2, eta: 2 } });
    const [first, second] = [study.ask()!, study.ask()!];
    expect(study.ask()).toBeUndefined();
    expect(study.trials.map(({ state }) => state)).toEqual(['running', 'running']);
    study.tell(first, 0.4);
    expect(study.ask()).toBeUndefined();
    study.tell(second, 0.3);
    const promoted = study.ask()!;
    expect(promoted).toEqual({ trial: 0, rung: 1, resource: 2, settings: first.settings });
    expect(study.best).toMatchObject({ trial: 0, resource: 1, score: 0.4, state: 'running' });
    study.fail(promoted, 'out of memory');
    expect(study.best).toMatchObject({ trial: 1 });
    expect(study.ask()).toBeUndefined();
  });

  it.each([
    [{ maxResource: 320 }, 20],
    [{ maxResource: 350 }, 21],
    [{ maxResource: 320, eta: 2 }, 80],
    [{ maxResource: 320, earlyStoppingRate: 1 }, 20],
    [{ maxResource: 3 }, 1],
    [{ minResource: 9 }, 9],
    [undefined, 1],
  ])('with a resource of %o begins at %d', (resource, first) => {
    expect(new Study({ x: uniform(0, 1) }, { trials: 1, seed: 1, resource }).ask()!.resource).toBe(first);
  });

  it('fails a trial whose score is no number', () => {
    const study = new Study({ x: uniform(0, 1) }, { trials: 1, seed: 1 });
    study.tell(study.ask()!, Number.NaN);
    expect(study.trials[0]).toMatchObject({ state: 'failed', reason: 'its score is NaN', score: undefined });
    expect(study.best).toBeUndefined();
  });

  it('takes one answer a job', () => {
    const study = new Study({ x: uniform(0, 1) }, { trials: 2, seed: 1 });
    const job = study.ask()!;
    study.tell(job, 1);
    expect(() => study.tell(job, 1)).toThrow(/answer a job of ask\(\) once/);
    expect(() => study.fail({ ...job, trial: 5 }, 'why')).toThrow(/not running/);
  });

  it('ends early where a discrete space has no more points', () => {
    const study = new Study({ head: categorical('a', 'b', 'c') }, { trials: 10, seed: 1 });
    const asked: string[] = [];
    for (let job = study.ask(); job; job = study.ask()) {
      asked.push(job.settings.head);
      study.tell(job, 0);
    }
    expect(asked.sort()).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['no trials', {}, { trials: 0 }],
    ['no parameters', { space: {} }, {}],
    ['no room for a rung', {}, { resource: { minResource: 5, maxResource: 4 } }],
  ])('refuses %s', (_, { space = SPACE }: { space?: Record<string, never> | typeof SPACE }, changed) => {
    expect(() => new Study(space, { ...OPTIONS, ...changed })).toThrow(Refusal);
  });
});

describe('a study on the disk', () => {
  it('goes on from any byte at which it was cut to the same journal, byte for byte', () => {
    finish(new Study(SPACE, { ...OPTIONS, file }));
    const whole = readFileSync(file);
    const ends = [...whole.keys()].filter((at) => whole[at] === 10);
    expect(ends.length).toBeGreaterThan(30);
    expect(whole.toString()).toContain('"failed"');
    // Around each line's end, and a stride that falls everywhere within the lines.
    const cuts = new Set([0, 1, ...ends.flatMap((end) => [end - 1, end, end + 1, end + 2])]);
    for (let cut = 0; cut < whole.length; cut += 61) cuts.add(cut);
    for (const cut of cuts) {
      writeFileSync(file, whole.subarray(0, cut));
      finish(new Study(SPACE, { ...OPTIONS, file }));
      expect(readFileSync(file).equals(whole), `cut at byte ${cut}`).toBe(true);
    }
  });

  it('stopped after 8 trials asks for 14 what a study of 14 asks', () => {
    const whole = finish(new Study(SPACE, OPTIONS)).trials;
    finish(new Study(SPACE, { ...OPTIONS, trials: 8, file }));
    expect(finish(new Study(SPACE, { ...OPTIONS, file })).trials).toEqual(whole);
    expect(whole).toHaveLength(14);
  });

  it('asks abandoned jobs of several workers again, in their order, before anything new', () => {
    const before = new Study(SPACE, { ...OPTIONS, file });
    const jobs = [before.ask()!, before.ask()!, before.ask()!];
    before.tell(jobs[1], 3);
    before.close();
    const after = new Study(SPACE, { ...OPTIONS, file });
    expect([after.ask(), after.ask()]).toEqual([jobs[0], jobs[2]]);
    expect(after.ask()!.trial).toBe(3);
    after.close();
  });

  it('drops a last line of the right length with the wrong bytes', () => {
    finish(new Study(SPACE, { ...OPTIONS, file }));
    const whole = readFileSync(file);
    const from = whole.lastIndexOf(10, whole.length - 2) + 1;
    writeFileSync(file, Buffer.from(whole).fill(0, from, whole.length - 1));
    finish(new Study(SPACE, { ...OPTIONS, file }));
    expect(readFileSync(file).equals(whole)).toBe(true);
  });

  it('is readable: a header, then a line an event', () => {
    const study = new Study({ x: uniform(0, 1) }, { trials: 1, seed: 1, file });
    study.tell(study.ask()!, 0.5);
    study.close();
    const lines = readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ study: 1, seed: 1, goal: 'maximize', space: { x: { kind: 'uniform', low: 0, high: 1 } } });
    expect(lines[1]).toEqual({ asked: 0, rung: 0, settings: { x: expect.any(Number) } });
    expect(lines[2]).toEqual({ told: 0, rung: 0, score: 0.5 });
  });

  describe('is refused, and the file left as it was,', () => {
    const lines = (...changed: readonly string[]) => {
      finish(new Study(SPACE, { ...OPTIONS, file }));
      const [header, ...events] = readFileSync(file, 'utf8').split('\n');
      return [header, ...events.slice(0, 4), ...changed, ''].join('\n');
    };
    const refused = (text: string, options: Partial<StudyOptions>, complaint: RegExp, space: object = SPACE) => {
      writeFileSync(file, text);
      expect(() => new Study(space as typeof SPACE, { ...OPTIONS, file, ...options })).toThrow(Refusal);
      expect(() => new Study(space as typeof SPACE, { ...OPTIONS, file, ...options })).toThrow(complaint);
      expect(readFileSync(file, 'utf8')).toBe(text);
    };

    it('for another seed, space or goal, named', () => {
      refused(lines(), { seed: 8 }, /another seed;/);
      refused(lines(), { goal: 'maximize', resource: undefined }, /another goal and resource;/);
      refused(lines(), {}, /another space;/, { ...SPACE, x: uniform(-5, 11) });
    });

    it('where it is no journal', () => {
      finish(new Study(SPACE, { ...OPTIONS, file }));
      refused('dear diary', {}, /is not a search journal/);
      refused('dear diary\n', {}, /is not a search journal/);
      refused('[1,2]\n', {}, /is not a search journal/);
      expect(() => new Study(SPACE, { ...OPTIONS, file: folder })).toThrow(/cannot be read \(EISDIR\)/);
    });

    it.each([
      ['broken before its end', ['{"told":', '{"told":9,"rung":0,"score":1}'], /line 6 is broken/],
      ['with an unknown event', ['{"hello":1}'], /line 6 is no event/],
      ['with a score that is no number', ['{"told":1,"rung":0,"score":"1"}'], /line 6 is no event/],
      ['with an answer that was not asked for', ['{"told":9,"rung":0,"score":1}'], /line 6 answers trial 9/],
      ['with a trial out of turn', ['{"asked":9,"rung":0,"settings":{}}'], /line 6 asks trial 9/],
      ['with a rung left out', ['{"asked":0,"rung":2}'], /line 6 asks trial 0/],
      ['with settings of another space', ['{"asked":2,"rung":0,"settings":{"x":99}}'], /line 6 has settings of another space: x = 99/],
    ])('where it is %s', (_, events, complaint) => {
      refused(lines(...events), {}, complaint);
    });
  });
});

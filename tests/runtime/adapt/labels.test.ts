import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BookEntry, ExampleBook, LARGEST_EXAMPLES } from '../../../runtime/adapt/example-book.ts';
import { RecentWindows } from '../../../runtime/adapt/recent-windows.ts';
import { type Label, labelSchema, TIERS } from '../../../runtime/contracts/label.ts';

const CLASSES = ['normal', 'hum', 'knock'];

function label(id: string, more: Record<string, unknown> = {}): Label {
  return labelSchema.parse({
    id,
    stream: 'm',
    at: '2026-01-01T00:00:00.000Z',
    annotator: 'a1',
    verdict: 'correct',
    class: 'hum',
    subject: { kind: 'window', epoch: 0, endSequence: 512 },
    ...more,
  });
}

const at = (endSequence: number) => ({ epoch: 0, endSequence, codes: Int16Array.of(endSequence), scales: Float32Array.of(1) });
const windowAt = (endSequence: number) => ({ subject: { kind: 'window', epoch: 0, endSequence } });
const entry = (id: string, endSequence: number, more: Record<string, unknown> = {}): BookEntry => ({
  label: label(id, { ...windowAt(endSequence), ...more }),
  windows: [at(endSequence)],
});
const bookOf = (...entries: BookEntry[]) => {
  const book = new ExampleBook();
  for (const one of entries) book.add(one);
  return book;
};

describe('the windows of a label', () => {
  const ring = (capacity: number) => new RecentWindows({ budgetBytes: 2 * 2 * 2 * capacity, window: 2, channels: 1 });
  const add = (recent: RecentWindows, stream: string, endSequence: number, remarkable = false) =>
    recent.add(stream, { epoch: 0, endSequence }, Float32Array.of(0.5), remarkable, (into, place) => {
      into.set([endSequence, endSequence + 1], place);
      return true;
    });

  it('are the last ones of all streams, usual and remarkable ones each by themselves, whatever order they come in', () => {
    const windows = fc.array(fc.record({ stream: fc.constantFrom('a', 'b', 'c'), remarkable: fc.boolean() }), { maxLength: 40 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), windows, (capacity, all) => {
        const recent = ring(capacity);
        all.forEach(({ stream, remarkable }, n) => {
          add(recent, stream, n, remarkable);
        });
        all.forEach(({ stream, remarkable }, n) => {
          const found = recent.find(stream, { kind: 'window', epoch: 0, endSequence: n });
          const after = all.slice(n + 1).filter((other) => other.remarkable === remarkable);
          expect(found.map(({ codes }) => [...codes])).toEqual(after.length < capacity ? [[n, n + 1]] : []);
        });
      }),
    );
  });

  it('are copies, at most eight of a span and spread over it, and of the epoch that the label names', () => {
    const recent = ring(64);
    for (let n = 1; n <= 32; n++) add(recent, 'a', n);
    const span = { kind: 'span', fromSequence: 1, toSequence: 32 } as const;
    const found = recent.find('a', { ...span, epoch: 0 });
    expect(found.map(({ endSequence }) => endSequence)).toEqual([3, 7, 11, 15, 19, 23, 27, 31]);
    found[0].codes.fill(9);
    expect([...recent.find('a', { kind: 'window', epoch: 0, endSequence: 3 })[0].codes]).toEqual([3, 4]);
    expect(recent.find('a', { ...span, epoch: 1 })).toEqual([]);
    expect(recent.find('b', { ...span, epoch: 0 })).toEqual([]);
  });

  it('stay for a drift signal when the ring has gone round, for its own stream alone', () => {
    const recent = ring(2);
    add(recent, 'a', 7);
    recent.keepEvidence('a', 'signal-1', [{ epoch: 0, endSequence: 7 }]);
    for (let n = 8; n < 20; n++) add(recent, 'a', n);
    expect(recent.find('a', { kind: 'window', epoch: 0, endSequence: 7 })).toEqual([]);
    expect(recent.find('a', { kind: 'signal', signal: 'signal-1' }).map(({ codes }) => [...codes])).toEqual([[7, 8]]);
    expect(recent.find('b', { kind: 'signal', signal: 'signal-1' })).toEqual([]);
    for (let n = 0; n < 64; n++) recent.keepEvidence('a', `later-${n}`, []);
    expect(recent.find('a', { kind: 'signal', signal: 'signal-1' })).toEqual([]);
  });

  it('that were gone before they could be copied are not kept', () => {
    const recent = ring(4);
    expect(recent.add('a', { epoch: 0, endSequence: 1 }, Float32Array.of(1), false, () => false)).toBe(false);
    expect(recent.find('a', { kind: 'window', epoch: 0, endSequence: 1 })).toEqual([]);
  });
});

describe('examples of a stream', () => {
  it('hold every third label of a class out, and know the label of each window', () => {
    const book = bookOf(...[1, 2, 3, 4].map((n) => entry(`l${n}`, n)), entry('k', 9, { class: 'knock' }));
    const { labels, heldOut, trusted, sources, provenance, codes } = book.examples(CLASSES);
    expect([...codes]).toEqual([1, 2, 3, 4, 9]);
    expect([...labels]).toEqual([1, 1, 1, 1, 2]);
    expect([...heldOut]).toEqual([0, 0, 1, 0, 0]);
    expect([...trusted]).toEqual([0, 0, 0, 0, 0]);
    expect([...sources].map((source) => provenance[source].id)).toEqual(['l1', 'l2', 'l3', 'l4', 'k']);
    expect(provenance[0]).toEqual({ id: 'l1', annotator: 'a1', tier: 'first', class: 'hum', windows: 1 });
  });

  it('come from the highest tier; of two who disagree in one tier from neither', () => {
    const [hum, knock] = [entry('1', 5), entry('2', 5, { annotator: 'a2', class: 'knock' })];
    expect(bookOf(hum, knock).examples(CLASSES).count).toBe(0);
    const expert = entry('3', 5, { annotator: 'e', tier: 'expert', class: 'knock' });
    for (const order of [
      [hum, knock, expert],
      [expert, hum, knock],
    ])
      expect(
        bookOf(...order)
          .examples(CLASSES)
          .provenance.map(({ id }) => id),
      ).toEqual(['3']);
    const rejects = entry('4', 5, { annotator: 'a2', verdict: 'reject' });
    const both = bookOf(hum, rejects).examples(CLASSES);
    expect([both.count, both.rejected]).toEqual([0, [false, true, false]]);
    const agrees = entry('5', 5, { annotator: 'a2' });
    expect(bookOf(hum, agrees).examples(CLASSES).count).toBe(1);
  });

  it('change with an annotator’s mind, wait for a bundle that has their class, and can be forgotten', () => {
    const book = bookOf(entry('1', 5), entry('2', 5, { class: 'knock' }), entry('3', 6, { class: 'leak' }));
    expect([...book.examples(CLASSES).labels]).toEqual([2]);
    expect([...book.examples([...CLASSES, 'leak']).labels]).toEqual([2, 3]);
    expect([book.has('1'), book.has('2')]).toEqual([false, true]);
    book.forget(['2']);
    expect(book.examples(CLASSES).count).toBe(0);
  });

  it('are bounded, and the most frequent class gives way', () => {
    const book = bookOf(entry('rare', 1, { class: 'knock' }));
    for (let n = 2; n < 300; n++) book.add(entry(`l${n}`, n));
    const { count, labels } = book.examples(CLASSES);
    expect(count).toBe(LARGEST_EXAMPLES);
    expect([...labels].filter((one) => one === 2)).toHaveLength(1);
    expect(book.has('l2')).toBe(false);
    expect(book.has('l299')).toBe(true);
  });
});

describe('a label on the wire', () => {
  it('names a class unless the annotator is unsure, and a tier only of those there are', () => {
    expect(label('1').tier).toBe('first');
    expect(() => label('1', { class: undefined })).toThrow();
    expect(() => label('1', { verdict: 'unsure' })).toThrow();
    const { class: _class, ...unsure } = { ...label('1'), verdict: 'unsure', class: 'hum' };
    expect(labelSchema.parse(unsure).verdict).toBe('unsure');
    expect(() => label('1', { stream: 'a/b' })).toThrow();
    expect(() => label('1', { subject: { kind: 'span', epoch: 0, fromSequence: 2, toSequence: 1 } })).toThrow();
    for (const tier of TIERS) expect(label('1', { tier }).tier).toBe(tier);
    expect(() => label('1', { tier: 'boss' })).toThrow();
  });
});

/**
 * Bytes of samples that all recordings of a process hold together. A set below that (the 12-class task of cwru12 takes 22 MB) is read once and stays; of a larger one
 * the pages that were used last stay.
 */
const PAGE_BUDGET_BYTES = 32 * 2 ** 20;
/** Values of a page, 32 kB: a window that is read at random costs little more than itself. */
const PAGE_VALUES = 8192;

/** Samples of a recording, row-major [length, channels]; not to be written to, since others may read the same memory. */
export type ReadSamples = (start: number, length: number) => Float32Array;

interface Page {
  readonly samples: Float32Array;
  /** Whether it was read since the budget was last looked at. */
  used: boolean;
  forget(): void;
}

/** Pages of all recordings, within one budget; where it is reached, the oldest page goes that was not read meanwhile ("second chance"). */
class PageCache {
  readonly #budgetBytes: number;
  readonly #pages = new Set<Page>();
  #bytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  add(page: Page): void {
    this.#pages.add(page);
    this.#bytes += page.samples.byteLength;
    while (this.#bytes > this.#budgetBytes) {
      const [oldest] = this.#pages;
      this.#pages.delete(oldest);
      if (oldest.used) {
        oldest.used = false;
        this.#pages.add(oldest);
        continue;
      }
      this.#bytes -= oldest.samples.byteLength;
      oldest.forget();
    }
  }
}

const cache = new PageCache(PAGE_BUDGET_BYTES);

/**
 * Reads samples by pages, which are kept as long as the budget of all recordings lets them.
 *
 * @param shape of the whole: samples, and channels of each
 * @param load makes samples that no page holds, row-major [length, channels]
 * @returns throws a RangeError where samples outside of the recording are asked for, and whatever `load` throws
 */
export function pagedReader([length, channels]: readonly [number, number], load: ReadSamples, pageValues = PAGE_VALUES): ReadSamples {
  const rows = Math.max(1, Math.floor(pageValues / Math.max(1, channels)));
  const pages: (Page | undefined)[] = [];
  const pageAt = (index: number): Float32Array => {
    const known = pages[index];
    if (known) {
      known.used = true;
      return known.samples;
    }
    const samples = load(index * rows, Math.min(rows, length - index * rows));
    pages[index] = { samples, used: false, forget: () => delete pages[index] };
    cache.add(pages[index]);
    return samples;
  };
  return (start, wanted) => {
    if (start < 0 || wanted < 0 || start + wanted > length) throw new RangeError(`samples ${start} to ${start + wanted} of ${length}`);
    if (wanted === 0) return new Float32Array(0);
    const first = Math.floor(start / rows);
    const last = Math.floor((start + wanted - 1) / rows);
    if (first === last) return pageAt(first).subarray((start - first * rows) * channels, (start - first * rows + wanted) * channels);
    const samples = new Float32Array(wanted * channels);
    for (let index = first; index <= last; index++) {
      const from = Math.max(start, index * rows);
      const to = Math.min(start + wanted, (index + 1) * rows);
      samples.set(pageAt(index).subarray((from - index * rows) * channels, (to - index * rows) * channels), (from - start) * channels);
    }
    return samples;
  };
}

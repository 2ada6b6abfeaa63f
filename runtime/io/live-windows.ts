import type { PlacedWindow } from '../adapt/raw-windows.ts';

interface Wait {
  readonly wanted: number;
  readonly windows: PlacedWindow[];
  readonly resolve: (windows: PlacedWindow[]) => void;
  readonly timer: NodeJS.Timeout;
}

/** The next windows of a stream, for whoever waits for them. */
export class LiveWindows {
  readonly #waits = new Map<string, Wait>();

  waitsFor(stream: string): boolean {
    return this.#waits.has(stream);
  }

  /** Resolves with `wanted` windows, or with those that came until `largestMs` were over. One wait a stream. */
  next(stream: string, wanted: number, largestMs: number): Promise<PlacedWindow[]> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(stream), largestMs);
      this.#waits.set(stream, { wanted, windows: [], resolve, timer });
    });
  }

  add(stream: string, window: PlacedWindow): void {
    const wait = this.#waits.get(stream);
    if (!wait) return;
    wait.windows.push(window);
    if (wait.windows.length >= wait.wanted) this.#end(stream);
  }

  /** Ends every wait with what has come. */
  stop(): void {
    for (const stream of [...this.#waits.keys()]) this.#end(stream);
  }

  #end(stream: string): void {
    const wait = this.#waits.get(stream)!;
    this.#waits.delete(stream);
    clearTimeout(wait.timer);
    wait.resolve(wait.windows);
  }
}

/** A progress bar on stderr: redrawn in place on a terminal, a line every ten per cent elsewhere. */
export class ProgressBar {
  readonly #title: string;
  readonly #stream: NodeJS.WriteStream;
  #lastTenth = -1;
  #drawn = false;

  constructor(title: string, stream: NodeJS.WriteStream = process.stderr) {
    this.#title = title;
    this.#stream = stream;
  }

  /** @param share done, 0 to 1; @param note what there is to say now */
  update(share: number, note = ''): void {
    const percent = Math.floor(100 * Math.min(1, share));
    if (this.#stream.isTTY) {
      const width = 24;
      const full = Math.round((width * percent) / 100);
      this.#stream.write(`\r\x1b[2K${this.#title} ${'█'.repeat(full)}${'░'.repeat(width - full)} ${percent} % ${note}`);
      this.#drawn = true;
    } else if (Math.floor(percent / 10) > this.#lastTenth) {
      this.#lastTenth = Math.floor(percent / 10);
      this.#stream.write(`${this.#title} ${percent} % ${note}\n`);
    }
  }

  done(note: string): void {
    this.#stream.write(`${this.#drawn ? '\r\x1b[2K' : ''}${this.#title}: ${note}\n`);
  }
}

import { spawn } from 'node:child_process';

/** A serial line in software: what is opened at `path` is connected with the holder of this object. */
export interface Pty {
  /** The side to open as a serial port, such as /dev/pts/3. */
  readonly path: string;
  /** Sends bytes to whoever has opened `path`. Resolves when the pty has taken them. */
  write(bytes: Uint8Array): Promise<void>;
  /** Unplugs the line: whoever has opened `path` sees it vanish. Resolves when it is gone. */
  close(): Promise<void>;
}

/**
 * Opens a pty through util-linux's `script`, which every Linux distribution has: Node itself cannot, and no package is wanted for it.
 *
 * `onBytes` gets what is written at the other side. Rejects where `script` is missing or gives no pty within 5 s.
 */
export async function openPty(onBytes: (bytes: Uint8Array) => void = () => {}): Promise<Pty> {
  // The shell says when the line discipline is off: bytes written before would be echoed or edited. It ends with this process, however that ends.
  const shell = `tty; stty raw -echo; echo ready; while kill -0 ${process.pid}; do sleep 2; done`;
  const child = spawn('script', ['-qfec', shell, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, SHELL: '/bin/sh' },
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.stdin.on('error', () => {});

  const path = await new Promise<string>((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`no pty: ${why}`, { cause }));
    };
    const timer = setTimeout(() => fail('script gave none within 5 s'), 5_000);
    child.once('error', (cause) => fail('the command script (util-linux) cannot be run', cause));
    child.once('close', () => fail('script ended'));
    let text = '';
    const onText = (bytes: Uint8Array) => {
      text += Buffer.from(bytes).toString('latin1');
      const match = /^(\/dev\/\S+)\s+ready\r?\n/.exec(text);
      if (!match) return;
      clearTimeout(timer);
      child.stdout.off('data', onText);
      child.stdout.on('data', onBytes);
      resolve(match[1]);
    };
    child.stdout.on('data', onText);
  });

  return {
    path,
    write: (bytes) =>
      new Promise((resolve, reject) => {
        child.stdin.write(bytes, (error) => (error ? reject(new Error(`pty ${path} is closed`, { cause: error })) : resolve()));
      }),
    close() {
      // The master ends with script; the kernel then hangs up the shell that holds the slave.
      child.kill('SIGKILL');
      return gone;
    },
  };
}

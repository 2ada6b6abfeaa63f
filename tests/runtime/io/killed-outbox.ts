import { Outbox } from '../../../runtime/io/outbox.ts';
import { folderFiles } from '../../../runtime/io/outbox-files.ts';

// The program of a test that kills it: node killed-outbox.mjs FOLDER. Goes on with the number behind the last on disk.
const outbox = await Outbox.open({ files: folderFiles(process.argv[2]), largestBytes: 1 << 24, segmentBytes: 20_000 });
let next = (await outbox.read(0, 1_000_000)).length;
for (;;) {
  // Some at once, so that records share a write.
  const batch = Array.from({ length: 1 + (next % 5) }, () => next++);
  await Promise.all(
    batch.map(async (number) => {
      await outbox.append({ topic: 't', payload: Buffer.from(`${number} ${'x'.repeat((number * 97) % 900)}`), retain: false });
      process.stdout.write(`${number}\n`);
    }),
  );
}

// For the packed device: native libraries are looked for beside the program, in native/, instead of in node_modules.
import { readFileSync } from 'node:fs';

/** The two modules that load a native library, and what they load instead. */
const LOADERS = [
  {
    filter: /onnxruntime-node[\\/]dist[\\/]binding\.js$/,
    rewrite(text) {
      const loader = /require\(`\.\.\/bin\/napi-v\d+\/[^`]*onnxruntime_binding\.node`\)/;
      if (!loader.test(text)) throw new Error("onnxruntime-node's binding.js loads its library in another way than this build knows");
      return text.replace(loader, "require('./native/onnxruntime_binding.node')");
    },
  },
  {
    filter: /@serialport[\\/]bindings-cpp[\\/]dist[\\/]serialport-bindings\.js$/,
    // A gateway without serial ports must start where there is no library for them; of several, the first that this platform takes.
    rewrite: () => `
      function load() {
        let first;
        for (const name of ['serialport', 'serialport-' + process.arch + '-glibc', 'serialport-' + process.arch + '-musl']) {
          const path = './native/' + name + '.node';
          try {
            return require(path);
          } catch (error) {
            first ??= error;
          }
        }
        const missing = () => new Error('serial ports cannot be used on this platform: ' + first.message);
        return { open: (path, options, callback) => callback(missing()), list: (callback) => callback(missing()) };
      }
      exports.binding = load();
    `,
  },
];

export const natives = {
  name: 'natives',
  setup(build) {
    for (const { filter, rewrite } of LOADERS) {
      build.onLoad({ filter }, ({ path }) => ({ contents: rewrite(readFileSync(path, 'utf8')), loader: 'js' }));
    }
    build.onResolve({ filter: /^\.\/native\// }, ({ path }) => ({ path, external: true }));
  },
};

// Node-RED's settings: modules are handed to function nodes as global context, as its documentation says.
const { createRequire } = require('node:module');

module.exports = {
  flowFile: 'flows.json',
  httpAdminRoot: false,
  httpNodeRoot: false,
  credentialSecret: false,
  logging: { console: { level: 'warn', metrics: false, audit: false } },
  // Function nodes live in a realm of their own, whose arrays onnxruntime does not take for such.
  functionGlobalContext: {
    ort: createRequire(process.env.FIELD_REQUIRE)('onnxruntime-node'),
    arrays: { Float32Array, Int16Array, Int32Array },
  },
};

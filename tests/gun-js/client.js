// A gun.js client that a test drives: node client.js '{"peers":["http://127.0.0.1:1/gun"]}'. Commands come as JSON lines
// on standard input, answers go out as JSON lines. Not here: what must come of it (`tests/gun_js.rs`).

const { createInterface } = require('node:readline')
const wanted = JSON.parse(process.argv[2])
console.log = (...words) => process.stderr.write(words.join(' ') + '\n')
const Gun = require('gun')
const gun = Gun({ peers: wanted.peers, axe: false, multicast: false, radisk: false, localStorage: false, super: false })

const say = line => process.stdout.write(JSON.stringify(line) + '\n')
const at = path => path.reduce((chain, segment) => chain.get(segment), gun)
/** A node without gun's own data. */
const plain = data => {
  if (data === null || typeof data !== 'object') return data
  const { _, ...fields } = data
  return fields
}

const commands = {
  put: ({ path, data }) => new Promise(resolve => at(path).put(data, ack => resolve({ error: ack.err ?? null }))),
  /** Does not wait for an answer: a relay without a disk gives none. */
  write: ({ path, data }) => { at(path).put(data); return {} },
  set: ({ path, data }) => { at(path).set(data); return {} },
  once: ({ path, wait }) => new Promise(resolve => {
    const late = setTimeout(() => resolve({ data: null, late: true }), wait)
    at(path).once(data => { clearTimeout(late); resolve({ data: plain(data) ?? null }) })
  }),
  /** Says every child of a node as it comes and changes. */
  watch: ({ path, name }) => {
    at(path).map().on((data, key) => say({ type: 'child', name, key, data: plain(data) ?? null }))
    return {}
  }
}

createInterface({ input: process.stdin })
  .on('line', async line => {
    const command = JSON.parse(line)
    try {
      say({ type: 'done', of: command.do, ...(await commands[command.do](command)) })
    } catch (error) {
      say({ type: 'failed', error: `${error.stack}` })
    }
  })
  .on('close', () => process.exit(0))
say({ type: 'ready' })

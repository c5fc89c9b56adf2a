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
  },
  /** Keeps what a watched node has of each child, and says how many. */
  count: ({ path, field }) => {
    const seen = new Set()
    at(path).map().on((data, key) => { if (data?.[field] !== undefined) { seen.add(key); say({ type: 'count', path, count: seen.size }) } })
    return {}
  },
  /** Many announcements as old peers write them. */
  announceMany: async ({ root, hashes, node, record }) => {
    for (let index = 0; index < hashes.length; index++) {
      gun.get(root).get(hashes[index]).get(node).put(record)
      if (index % 50 === 49) await new Promise(resolve => setTimeout(resolve, 30))
    }
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

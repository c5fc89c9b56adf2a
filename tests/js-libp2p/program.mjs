// A js-libp2p peer that a test drives: commands come as JSON lines on standard input, answers go out as JSON lines.
// Which js-libp2p it is, the folders `current` and `quic` say. Not here: what must come of it (`tests/js_libp2p.rs`).

import { createInterface } from 'node:readline'

// js-libp2p uses it everywhere; Node has it since version 22.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const ECHO = '/test/echo/1'
/** Streams may run over a circuit that the relay limits. */
const anywhere = { runOnLimitedConnection: true }

/** Time for one step. The tests have deadlines of their own, and machines are busy. */
const step = 50_000
const connectionManager = {
  dialTimeout: step,
  addressDialTimeout: step,
  inboundUpgradeTimeout: step,
  outboundUpgradeTimeout: step,
  inboundStreamProtocolNegotiationTimeout: step,
  outboundStreamProtocolNegotiationTimeout: step
}
export const relayTransport = { reservationCompletionTimeout: step }

const say = line => process.stdout.write(JSON.stringify(line) + '\n')

/** The length of a list of byte lists, and whether every byte is `wanted`. */
const measure = (chunks, wanted) => ({
  length: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  intact: chunks.every(chunk => chunk.every(byte => byte === wanted))
})

/**
 * `streams` says how this js-libp2p moves bytes: the `handler` of an echo, and `exchange` for the chunks that come back.
 * `content` says how it uses its DHT, if it has one: `provide` and `find`, by the bytes of a multihash.
 */
export async function run ({ createLibp2p, multiaddr, streams, content, options }) {
  // Told by the test: what to listen on, whether to serve as a relay, the protocol of a DHT, the kind of identity.
  const wanted = JSON.parse(process.argv[2])
  const node = await createLibp2p({ addresses: { listen: wanted.listen }, connectionManager, ...await options(wanted) })
  await node.handle(ECHO, streams.handler, anywhere)
  const addresses = () => node.getMultiaddrs().map(address => address.toString())
  node.addEventListener('self:peer:update', () => say({ type: 'addresses', addresses: addresses() }))

  const connections = new Map()
  const commands = {
    async dial ({ address }) {
      const connection = await node.dial(multiaddr(address))
      connections.set(connection.id, connection)
      const { remotePeer, remoteAddr, encryption, multiplexer } = connection
      return { id: connection.id, peer: `${remotePeer}`, address: `${remoteAddr}`, encryption, multiplexer }
    },
    async echo ({ id, bytes }) {
      const stream = await connections.get(id).newStream(ECHO, anywhere)
      return measure(await streams.exchange(stream, new Uint8Array(bytes).fill(7)), 7)
    },
    async ping ({ id }) {
      return { milliseconds: await node.services.ping.ping(connections.get(id).remotePeer) }
    },
    async identify ({ id }) {
      const told = await node.services.identify.identify(connections.get(id))
      return {
        peer: `${told.peerId}`,
        agent: told.agentVersion,
        protocols: told.protocols,
        addresses: told.listenAddrs.map(address => address.toString()),
        observed: `${told.observedAddr}`
      }
    },
    async provide ({ multihash }) {
      return { sent: await content.provide(node, Buffer.from(multihash, 'hex')) }
    },
    /** How many nodes of its DHT it knows. */
    async known () {
      return { nodes: node.services.dht.routingTable.size }
    },
    async find ({ multihash }) {
      return { providers: await content.find(node, Buffer.from(multihash, 'hex')) }
    }
  }

  say({ type: 'ready', peer: `${node.peerId}`, addresses: addresses() })
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    try {
      say({ type: 'done', ...await commands[command.do](command) })
    } catch (error) {
      say({ type: 'failed', error: `${error.stack}` })
    }
  }
  await node.stop()
  process.exit(0)
}

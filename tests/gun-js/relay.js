// A stock gun relay that a test starts: node relay.js '{"port":0,"axe":false,"radisk":true,"file":"dir"}'
// Prints one JSON line when it listens. Ends when its standard input ends, or is killed. Not here: what must come of it
// (`tests/gun_js.rs`).

const http = require('node:http')
const wanted = JSON.parse(process.argv[2])
// Messages of gun go to standard output; the test reads JSON lines there.
console.log = (...words) => process.stderr.write(words.join(' ') + '\n')
const Gun = require('gun')

const server = http.createServer(Gun.serve ?? ((_, response) => response.end()))
server.listen(wanted.port, '127.0.0.1', () => {
  Gun({ web: server, file: wanted.file, axe: wanted.axe, radisk: wanted.radisk, localStorage: false, multicast: false, peers: [] })
  process.stdout.write(JSON.stringify({ type: 'ready', port: server.address().port }) + '\n')
})
process.stdin.on('end', () => process.exit(0)).resume()

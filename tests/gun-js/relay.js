// A stock gun relay that a test starts: node relay.js '{"port":0,"axe":false,"radisk":true,"file":"dir"}'
// With `key` and `certificate` (paths) it speaks TLS. Prints one JSON line when it listens. Ends when its standard input ends, or is killed. Not here: what must come of it
// (`tests/gun_js.rs`).

const { readFileSync } = require('node:fs')
const http = require('node:http')
const https = require('node:https')
const wanted = JSON.parse(process.argv[2])
// Messages of gun go to standard output; the test reads JSON lines there.
console.log = (...words) => process.stderr.write(words.join(' ') + '\n')
const Gun = require('gun')

const answer = (_, response) => response.end()
const server = wanted.key
  ? https.createServer({ key: readFileSync(wanted.key), cert: readFileSync(wanted.certificate) }, answer)
  : http.createServer(answer)
server.listen(wanted.port, '127.0.0.1', () => {
  const { file, axe, radisk } = wanted
  Gun({ web: server, file, axe, radisk, localStorage: false, multicast: false, peers: [] })
  process.stdout.write(JSON.stringify({ type: 'ready', port: server.address().port }) + '\n')
})
process.stdin.on('end', () => process.exit(0)).resume()

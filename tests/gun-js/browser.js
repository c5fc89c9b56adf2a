// What a page does with the browser's gun.js: it reports every whole record of the peers of a content as it comes, and
// announces itself as older peers do. `wanted` comes from the page that a test writes. Not here: what must come of it
// (`tests/gun_js.rs`).
/* global Gun, wanted */

const gun = Gun({ peers: [wanted.url], localStorage: false, radisk: false, axe: false, multicast: false })
const peers = gun.get('dig-peers').get(wanted.hash)
peers.map().on((data, name) => {
  const whole = data && data.ip && data.port && data.ver && data.announcement && 'available' in data
  if (!whole || name === wanted.name) return
  const { ip, port, available, ver } = data
  gun.get('browser').get(ip).put({ agent: navigator.userAgent, name, ip, port, available, ver })
})
peers.get(wanted.name).put({ ip: '198.51.100.9', port: 8080, timestamp: Date.now(), ver: '1.0' })

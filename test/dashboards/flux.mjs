// Checks Flux with its makers' own parser and type checker: a JSON object of
// names and texts comes in on standard input. Prints what is wrong, and ends with
// 1 if there is anything.
import { readFileSync } from 'node:fs'
import flux from '@influxdata/flux-lsp-node'

const valid = (text) => new flux.Flux(text).is_valid()
const all = JSON.parse(readFileSync(0, 'utf8'))
let wrong = 0
for (const [name, text] of Object.entries(all)) {
  if (!valid(text)) { console.log(`${name} is not valid:\n${text}`); wrong++ }
}
// A checker that finds nothing in nonsense would prove nothing.
for (const nonsense of ['from(bucket: "b") |> range(start: -1h', 'from(bucket: "b") |> rang(start: -1h)', 'from(bucket: 1) |> range(start: -1h)']) {
  if (valid(nonsense)) { console.log(`nothing wrong was found in ${nonsense}`); wrong++ }
}
console.log(`${Object.keys(all).length} queries, ${wrong} wrong`)
process.exitCode = wrong ? 1 : 0

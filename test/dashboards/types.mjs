// Checks dashboards against Grafana's own types: node types.mjs FILE.json ...
// Prints what does not fit, but for what is known to be right all the same, and
// ends with 1 if there is anything.
import { readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

// The type of an annotation's query has no query language's own keys.
const known = [/^Object literal may only specify known properties, and '"query"' does not exist in type '\{ key\?/]

const here = dirname(fileURLToPath(import.meta.url))
const dir = mkdtempSync(join(here, 'types-'))
try {
  const files = process.argv.slice(2).map((path) => {
    const dashboard = JSON.parse(readFileSync(path, 'utf8'))
    delete dashboard.__inputs // of the import alone
    delete dashboard.__requires
    const file = join(dir, basename(path, '.json') + '.ts')
    if (dashboard.apiVersion === 'dashboard.grafana.app/v2') { // a resource: its spec has a type of its own
      writeFileSync(file, `import type { Spec } from '@grafana/schema/apis/dashboard.grafana.app/v2'
export const d: Spec = ${JSON.stringify(dashboard.spec, null, 1)}
`)
      return file
    }
    writeFileSync(file, `import type { Dashboard } from '@grafana/schema'
type Plain<T> = T extends string ? \`\${T}\` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T // enums are their values in JSON
export const d: Plain<Dashboard> = ${JSON.stringify(dashboard, null, 1)}
`)
    return file
  })
  const program = ts.createProgram(files, {
    strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
  })
  let wrong = 0
  const hits = new Set()
  for (const d of ts.getPreEmitDiagnostics(program)) {
    const text = ts.flattenDiagnosticMessageText(d.messageText, ' ')
    const alarm = known.findIndex((k) => k.test(text))
    if (alarm >= 0) { hits.add(alarm); continue }
    const line = d.file ? d.file.text.split('\n')[d.file.getLineAndCharacterOfPosition(d.start).line] : ''
    console.log(`${d.file ? basename(d.file.fileName) : ''}: ${text}: ${line.trim()}`)
    wrong++
  }
  if (hits.size < known.length) { console.log('a known false alarm did not come: take it off the list'); wrong++ }
  console.log(`${files.length} dashboards, ${wrong} wrong`)
  process.exitCode = wrong ? 1 : 0
} finally {
  rmSync(dir, { recursive: true })
}

// The widget of run_name: it offers the runs that there are, and takes a new name.

import { app } from "../../../scripts/app.js"
import { listRuns, onTraining } from "./api.js?v=0.1.0"
import { words } from "./nodes.js?v=0.1.0"

let names = [] // of the runs, the latest first

async function refresh() {
  names = (await listRuns()).map(({ run }) => run)
}

function addWidget(node, name, [, options]) {
  let chosen = options.default ?? ""
  let widget = null
  widget = node.addWidget("combo", name, chosen, choose, { values: offered })

  function offered() {
    if (widget && widget.value !== words().runs.newName) chosen = widget.value
    return [words().runs.newName, ...new Set([chosen, ...names])]
  }

  function choose(value) {
    if (value === words().runs.newName) setTimeout(ask) // once the page has set it
    else chosen = value
  }

  async function ask() {
    widget.value = chosen
    const { newName, newNameMessage } = words().runs
    const told = await app.extensionManager.dialog.prompt({
      title: newName,
      message: newNameMessage,
      defaultValue: chosen,
    })
    const asked = told?.trim()
    if (!asked) return
    widget.value = asked
    widget.callback(asked)
    node.setDirtyCanvas(true, true)
  }

  return { widget }
}

app.registerExtension({
  name: "gan_studio.run_name",
  getCustomWidgets: () => ({ GAN_RUN_NAME: addWidget }),
  setup() {
    refresh()
    onTraining(({ run }) => {
      if (!names.includes(run)) names = [run, ...names]
    })
    window.addEventListener("gan_studio.runs", ({ detail }) => (names = detail)) // from the list of runs
  },
})

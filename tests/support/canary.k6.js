// One request of an endpoint, sent again and again; prints which variant answered how often.
import exec from 'k6/execution'
import grpc from 'k6/net/grpc'
import { Counter } from 'k6/metrics'

const client = new grpc.Client()
const request = JSON.parse(open(__ENV.REQUEST))
const answered = new Counter('answered')
const failed = new Counter('failed')

export const options = {
  scenarios: {
    canary: {
      executor: 'shared-iterations',
      vus: 8,
      iterations: Number(__ENV.REQUESTS),
      maxDuration: '10m',
    },
  },
  // A counter is summed by a tag only where a threshold names the tag.
  thresholds: Object.fromEntries(
    __ENV.VERSIONS.split(',').map((version) => [`answered{version:${version}}`, ['count>=0']]),
  ),
}

const connect = () => client.connect(__ENV.ADDRESS, { plaintext: true, reflect: true })

// k6 keeps the messages that it hears of for all users in one place, and panics where two of them
// bring the same one at once: here they are brought before there are users.
export const setup = () => {
  connect()
  client.close()
}

export default () => {
  if (exec.vu.iterationInScenario === 0) connect()
  const response = client.invoke('inference.GRPCInferenceService/ModelInfer', request)
  if (response.status === grpc.StatusOK) {
    answered.add(1, { version: response.message.modelVersion })
  } else {
    failed.add(1)
  }
}

export const handleSummary = (data) => ({ stdout: JSON.stringify(data.metrics) })

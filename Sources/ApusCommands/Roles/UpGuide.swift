import ApusService
import ServiceLifecycle

/// Tells a person what to try once everything runs.
struct UpGuide: Service {
  let api: BoundAddress
  let hasSource: Bool

  func run() async throws {
    guard let address = try? await api.get() else { return }
    let host = address.host == "0.0.0.0" ? "127.0.0.1" : address.host
    let base = "http://\(ListenAddress(host: host, port: address.port))"
    Terminal.say(
      """

      Apus is up. The API is at \(base)

      Try:
        curl '\(base)/api/v1/gpus?limit=5'
        curl '\(base)/api/v1/nodes'
        curl '\(base)/api/v1/gpus/0/telemetry?metric=DCGM_FI_DEV_GPU_TEMP&limit=10'
        curl '\(base)/stats'
      Swagger UI: \(base)/swagger
      """)
    if !hasSource {
      Terminal.say(
        """

        No source was named, so Apus takes in what is sent to it (docs/how-to/send-telemetry.md):
          curl --data-binary @page.txt '\(base)/api/v1/import/prometheus'
        To see it at work:
          apus up --simulate 4x8
        """)
    }
    Terminal.say("\nStop with Ctrl-C.")
  }
}

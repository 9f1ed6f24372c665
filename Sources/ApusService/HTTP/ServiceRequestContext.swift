import Hummingbird
import NIOCore

/// What a route is told of its request beside the request itself.
package struct ServiceRequestContext: RequestContext {
  package var coreContext: CoreRequestContextStorage
  /// The most bytes of a body that a route may collect; set by the server's configuration.
  package var maxUploadSize: Int = 1 << 20
  /// Who asks, as `host:port`; for the logs.
  package let remoteAddress: String?

  package init(source: ApplicationRequestContextSource) {
    coreContext = CoreRequestContextStorage(source: source)
    remoteAddress = source.channel.remoteAddress?.description
  }
}

import ApusPipeline
import ApusService

extension Assembly {
  func csvSource(_ options: SourceOptions, progress: ReplayProgress) throws -> any Source {
    throw StartupError("later", exitCode: .software)
  }
}

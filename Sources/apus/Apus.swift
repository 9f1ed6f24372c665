import ApusCommands

@main
struct Apus {
  static func main() async {
    await ApusCommand.runProcess()
  }
}

set versions {{ '{' }}{{ board.tools['Vivado'] | join(' ') }}{{ '}' }}
if {[regsub {^(\d+\.\d+).*} [version -short] {\1}] ni $versions} {
  error "Vivado [version -short] is not one of $versions, which this package was written for"
}

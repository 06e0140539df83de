	@command -v vivado >/dev/null || \
	  { echo "vivado is not found; run settings64.sh of Vivado, one of: {{ board.tools['Vivado'] | join(' ') }}"; exit 1; }
	mkdir -p $(BUILD)
	vivado -mode batch -notrace -log $(BUILD)/build.log -journal $(BUILD)/build.jou -source build.tcl

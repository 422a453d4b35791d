# Package the core as an IP. NOT VERIFIED: written without Vivado at hand.
# vivado -mode batch -source hw/vivado/package_ip.tcl -tclargs OUTPUT_FOLDER
set here [file dirname [file normalize [info script]]]
set output [file normalize [expr {$argc > 0 ? [lindex $argv 0] : "$here/../../out/vivado"}]]
set part xck26-sfvc784-2LV-c

create_project -force package $output/package -part $part
# packages first: the other files import them
add_files [list $here/../rtl/instantft_pkg.sv $here/../rtl/instantft_types_pkg.sv]
foreach source [lsort [glob $here/../rtl/*.sv]] {
  if {![string match *_pkg.sv $source]} { add_files $source }
}
set_property top instantft [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $output/ip -vendor instantft_ros -library user \
    -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name instantft $core
set_property version 1.0 $core
set_property display_name {InstantFT fine-tuning accelerator} $core
set_property supported_families {zynquplus Production} $core

# s_axi, m_axi, aclk, aresetn and irq are inferred from the port names; both buses use aclk
ipx::associate_bus_interfaces -busif s_axi -clock aclk $core
ipx::associate_bus_interfaces -busif m_axi -clock aclk $core
set space [ipx::get_memory_maps s_axi -of_objects $core]
set block [lindex [ipx::get_address_blocks -of_objects $space] 0]
set_property range 8192 $block

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
